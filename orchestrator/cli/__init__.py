"""The command ``nmt``, and the entrypoint of its jobs on a cluster."""
