"""What every data source shares: the cache of prepared folders, and vocabularies."""
