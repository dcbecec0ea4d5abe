"""A finished chain as a table, a sentence and JSON."""
