"""Tests of `synde_pipeline.memory`."""
