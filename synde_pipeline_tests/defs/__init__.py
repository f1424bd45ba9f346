"""Tests of what Dagster loads: graph, automation, daemon and UI."""
