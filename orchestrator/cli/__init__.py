"""The command ``nmt``, and what a job of it runs on a cluster."""
