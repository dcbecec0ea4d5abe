"""The worker group: collectives, agreement, random state, copies to the host."""
