"""Data sets outside training: which there are, how they are prepared in parallel, what they hold."""
