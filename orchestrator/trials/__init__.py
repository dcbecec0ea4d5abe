"""Trials: what is trained in a sweep or a grid, what it costs, and which one wins."""
