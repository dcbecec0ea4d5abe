"""The command ``nmt data``: list data sources, prepare data sets in parallel, describe them."""
