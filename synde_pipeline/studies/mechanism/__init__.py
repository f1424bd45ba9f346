"""Context as a change of weights: static patches, trained adapters, how far they are the same. `study` runs it all."""
