"""What every data source shares: the cache of prepared folders, checks of options, Arrow files, standardisation."""
