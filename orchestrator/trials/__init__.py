"""Trials of a sweep or a grid: what they train, what they cost, and which one wins."""
