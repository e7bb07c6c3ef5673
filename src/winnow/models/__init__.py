"""Families of models: what trains, scores and completes; only here transformers is known."""
