"""The fault drill: runs with a fault, compared with a run without."""
