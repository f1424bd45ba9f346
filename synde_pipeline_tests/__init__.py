"""Tests mirror the package; helpers that several need are in `helpers.py`."""
