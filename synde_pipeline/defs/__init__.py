"""Dagster only: one file per stage; every asset body reads, calls one function, writes and reports."""
