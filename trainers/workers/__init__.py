"""Workers: collectives, agreement checks, random state, copies to the host."""
