"""Tests of `synde_pipeline.reflection`."""
