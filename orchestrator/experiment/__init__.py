"""The experiment file, its data, and everything that can be checked before Ray starts."""
