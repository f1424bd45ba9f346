"""Tests of `synde_pipeline.evaluation`."""
