"""Tests of `synde_pipeline.training`."""
