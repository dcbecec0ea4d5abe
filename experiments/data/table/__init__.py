"""A user's own table as a data source."""

from nmt.experiments.data.table.source import RECIPE, build, prepare

__all__ = ["RECIPE", "build", "prepare"]
