"""Puts the rooms below the one name ``nmt``: ``trainers/`` is installed as ``nmt.trainers``, and so on.

A user's own folder ``trainers/`` or ``experiments/`` then hides nothing of an installed ``nmt``. Everything else is in
pyproject.toml.
"""

from setuptools import find_packages, setup

ROOMS = ("trainers", "orchestrator", "experiments")
TOP = "orchestrator/nmt"
"""The folder with the public names; it is the package ``nmt`` itself."""

rooms = find_packages(include=[name for room in ROOMS for name in (room, f"{room}.*")], exclude=["orchestrator.nmt"])
setup(
    packages=["nmt", *(f"nmt.{name}" for name in rooms)],
    package_dir={"nmt": TOP, **{f"nmt.{room}": room for room in ROOMS}},
)
