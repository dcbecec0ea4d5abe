"""The functions of the package ``nmt``: the verbs of the command, for notebooks and schedulers."""
