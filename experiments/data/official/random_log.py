"""A public log in one file: tokens throughout, divided at random as the paper's data are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.data.official.held_out import HeldOut
from experiments.data.official.recipe import Format, Recipe


def random_log(
    name: str,
    source: str,
    path: str | None,
    file: str,
    form: Format,
    categorical: Sequence[str],
    labels: Sequence[str],
    missing: str,
    *,
    min_count: int,
    seed: int,
    max_damaged: float,
) -> Recipe:
    """The recipe of the paper's public data: 81 : 9 : 10 at random, tokens of few training rows OOV.

    Args:
        name: Short name.
        source: What the data are.
        path: The file, or the folder that it lies in.
        file: The file's official name.
        form: How its lines are written.
        categorical: Features; all of them are tokens.
        labels: Binary labels.
        missing: Where the file comes from, for who gives none.
        min_count: Tokens seen in fewer training rows than this share the id OOV.
        seed: Seed of the division.
        max_damaged: Largest share of damaged lines.

    Raises:
        ValueError: ``path`` is ``None``, or an option cannot be used.
    """
    if path is None:
        raise ValueError(f"no file is given, and {missing}, get {file}, and give its path")
    place = Path(path).expanduser()
    return Recipe(
        name=name,
        source=source,
        files=(place / file if place.is_dir() else place,),
        form=form,
        tokens=tuple(categorical),
        numbers=tuple(labels),
        categorical=tuple(categorical),
        labels=dict.fromkeys(labels, 2),
        min_count=min_count,
        held_out=HeldOut(seed=seed),
        max_damaged=max_damaged,
    )
