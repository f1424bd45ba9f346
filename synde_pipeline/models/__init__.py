"""Adapters -> ledger of a composition -> merged models, always from the pinned base."""
