"""Tests of `synde_pipeline.simulation`."""
