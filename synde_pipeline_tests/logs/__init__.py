"""Tests of reading, redacting and filing native logs."""
