"""The result of a comparison, and its table, figures and page."""
