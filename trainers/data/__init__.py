"""Data: the prepared format, its schema, and the feeds that turn it into minibatches."""
