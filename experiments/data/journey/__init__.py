"""Ranking lists from the supermarket's raw tables: purchases, documents of lists, and their features and labels."""
