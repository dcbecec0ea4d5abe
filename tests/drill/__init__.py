"""What faults cost: runs that are disturbed, and how they differ from an undisturbed one."""
