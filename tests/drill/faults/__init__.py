"""Faults: each does something to a run of the experiment, and lets it come to its end."""
