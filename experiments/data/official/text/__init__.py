"""Text files: their format, blocks of whole lines, and lines parsed to columns."""
