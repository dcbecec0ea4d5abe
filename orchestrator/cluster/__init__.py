"""Ray: clusters, nodes, workers, and trials on Ray Tune."""
