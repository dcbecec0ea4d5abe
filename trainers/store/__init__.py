"""Storage: finished stages, checkpoints, and claims on stages."""
