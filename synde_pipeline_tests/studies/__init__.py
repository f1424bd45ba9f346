"""Tests of `synde_pipeline.studies`."""
