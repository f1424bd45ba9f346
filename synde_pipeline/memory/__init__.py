"""Reflections -> deltas -> LanceDB -> the bank, a pure fold, and retrieval from it as of a day."""
