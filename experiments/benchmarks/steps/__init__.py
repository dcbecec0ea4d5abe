"""Time per optimisation step, against bare loops and other libraries."""
