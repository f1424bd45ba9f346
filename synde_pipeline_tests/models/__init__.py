"""Tests of `synde_pipeline.models`."""
