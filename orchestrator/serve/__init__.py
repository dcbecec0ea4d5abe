"""A trained model behind HTTP, on Ray Serve."""
