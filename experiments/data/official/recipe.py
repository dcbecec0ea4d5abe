"""Recipes: how official files become a prepared data set.

A recipe is a declaration with at most one function, :attr:`Recipe.derive`, of a block of rows. It is carried out one
block of lines at a time (:mod:`nmt.experiments.data.official`), in this process or, by ``nmt data prepare``, in
parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from nmt.experiments.data.common.options import check_min_count
from nmt.experiments.data.official.held_out import HeldOut
from nmt.experiments.data.official.text.format import Format

SPLIT = "split"
"""Column of the split that :attr:`Recipe.derive` gives a row: an index in ``SPLITS``, or -1 to leave the row out."""


@dataclass(frozen=True)
class Join:
    """A table of features that is joined to the rows by an id, such as a user's.

    Attributes:
        files: Its files; if an id has several rows, the first counts.
        key: Column of the id, an integer, in the table and in the rows.
        tokens: Columns of tokens.
        numbers: Columns of numbers; an empty field is a missing value.
        renamed: Column → its name in the recipe, where it differs.
    """

    files: tuple[Path, ...]
    key: str
    tokens: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        return (self.key, *self.tokens, *self.numbers)


@dataclass(frozen=True)
class Recipe:
    """How official files become a prepared data set.

    Attributes:
        name: Short name.
        source: Description of the data, shown to people.
        files: The files, in the order of their rows.
        form: Their format.
        tokens: Columns that are read as tokens. An empty field is a missing token.
        numbers: Columns that are read as numbers. A field may be empty only in a numeric feature.
        categorical: Categorical features, after :attr:`derive`.
        labels: Label column → number of classes, after :attr:`derive`; a row with another label is damaged.
        numeric: Numeric features, after :attr:`derive`.
        log1p: Numeric features to transform by ``log(1 + x)``.
        min_count: Training rows that a token needs to have an id of its own.
        held_out: Random split of the rows or, if :attr:`derive` splits them, of its training rows; ``None`` for no
            random split.
        joins: Tables of features.
        derive: Function (rows of a block, path of their file) → rows with the columns above and, if :attr:`splits`,
            :data:`SPLIT`. Tokens are dictionary columns of text, numbers are ``float64``. It keeps the order of the
            rows.
        splits: Whether :attr:`derive` adds :data:`SPLIT`.
        max_damaged: Largest share of damaged lines that is accepted.
    """

    name: str
    source: str
    files: tuple[Path, ...]
    form: Format
    tokens: tuple[str, ...]
    numbers: tuple[str, ...]
    categorical: tuple[str, ...]
    labels: Mapping[str, int]
    numeric: tuple[str, ...] = ()
    log1p: frozenset[str] = frozenset()
    min_count: int = 10
    held_out: HeldOut | None = None
    joins: tuple[Join, ...] = ()
    derive: Callable[[pa.Table, str], pa.Table] | None = None
    splits: bool = False
    max_damaged: float = 0.001

    @property
    def inputs(self) -> list[Path]:
        """All files, also those of the joins."""
        return [*self.files, *(path for join in self.joins for path in join.files)]

    def __post_init__(self) -> None:
        check_min_count(self.min_count)
        if not isinstance(self.max_damaged, int | float) or not 0 <= self.max_damaged < 1:
            raise ValueError(
                f"max_damaged is {self.max_damaged!r}; give the largest share of damaged lines, from 0 to below 1"
            )
