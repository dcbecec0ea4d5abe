"""Task losses: per example, the sum of sample losses and the count of labelled samples."""
