"""A finished chain in words and numbers."""
