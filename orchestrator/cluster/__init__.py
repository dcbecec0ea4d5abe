"""Ray: clusters, nodes, workers, chains on Ray Train, and trials on Ray Tune."""
