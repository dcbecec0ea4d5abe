"""Task losses: sums of sample losses and counts of labelled samples, per example."""
