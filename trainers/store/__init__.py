"""What is kept in a storage: finished stages, checkpoints, and who trains which stage."""
