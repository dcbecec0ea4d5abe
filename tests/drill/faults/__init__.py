"""Faults: each disturbs a run of the experiment, and lets it come to its end."""
