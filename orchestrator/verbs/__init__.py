"""The verbs of the command ``nmt``."""
