"""``nmt refresh``: the same experiment on tomorrow's data, from yesterday's model."""
