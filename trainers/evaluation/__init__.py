"""Full passes over a split, the acceptance rule, and the certificate of a stage."""
