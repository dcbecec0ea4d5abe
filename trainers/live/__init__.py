"""The live model on today's data: what a chain protects, and where it may start."""
