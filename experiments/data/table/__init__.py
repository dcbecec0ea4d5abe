"""A user's own table as a data source."""

from experiments.data.table.source import RECIPE, build, prepare

__all__ = ["RECIPE", "build", "prepare"]
