"""A chain and its stages: the training loop, what it accepts, and when it ends."""
