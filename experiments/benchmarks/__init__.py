"""Benchmarks: the scripts behind every number in the documents."""
