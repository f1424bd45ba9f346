"""Tests of the benchmarks study."""
