"""Figures of a chain, each a ``matplotlib.figure.Figure`` made without pyplot and without global state."""
