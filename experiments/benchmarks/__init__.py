"""Benchmarks: every number in the documents comes from a script here."""
