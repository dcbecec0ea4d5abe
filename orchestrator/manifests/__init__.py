"""What is kept in the storage of every run, so that its log can be written later, or by somebody else."""
