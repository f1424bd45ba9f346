"""Tests of the client of language models, against a real server."""
