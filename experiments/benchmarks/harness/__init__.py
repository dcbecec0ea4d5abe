"""How benchmarks are run and reported."""
