"""Trajectories and reflections -> training examples -> shards -> rank-1 LoRA adapters."""
