"""The recipe of the paper's public logs: one file, all features tokens, a random split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nmt.experiments.data.official.held_out import HeldOut
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.text.format import Format


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
    """Declare a random split 81 : 9 : 10 of a log of tokens; rare tokens are OOV.

    Args:
        name: Short name.
        source: Description of the data.
        path: The file, or its folder.
        file: Official name of the file.
        form: Its format.
        categorical: The features.
        labels: Binary labels.
        missing: How to get the file, for the error when ``path`` is ``None``.
        min_count: Tokens that fewer training rows have share the id OOV.
        seed: Seed of the random split.
        max_damaged: Largest share of damaged lines that is accepted.

    Raises:
        ValueError: ``path`` is ``None``, or an option is out of range.
    """
    if path is None:
        raise ValueError(f"no file is given, and {missing}, get {file}, and give its path")
    location = Path(path).expanduser()
    return Recipe(
        name=name,
        source=source,
        files=(location / file if location.is_dir() else location,),
        form=form,
        tokens=tuple(categorical),
        numbers=tuple(labels),
        categorical=tuple(categorical),
        labels=dict.fromkeys(labels, 2),
        min_count=min_count,
        held_out=HeldOut(seed=seed),
        max_damaged=max_damaged,
    )
