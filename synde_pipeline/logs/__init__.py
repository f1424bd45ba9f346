"""Native logs -> landing -> validated, deduplicated raw logs in Parquet by day."""
