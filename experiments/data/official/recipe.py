"""What becomes of an official file: its format, which column is what, and how rows are divided.

A recipe is a declaration, with one pure function of a block of rows at most (:attr:`Recipe.derive`). Everything that
follows from it works on one block of lines at a time (:mod:`experiments.data.official`), here one after the other or,
under ``nmt data prepare``, side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from experiments.data.official.held_out import HeldOut

SPLIT = "split"
"""Column in which :attr:`Recipe.derive` says where a row belongs: an index in ``SPLITS``, or -1 to leave it out."""


@dataclass(frozen=True)
class Format:
    """How a text file is written.

    Attributes:
        delimiter: What stands between fields.
        columns: Names of the fields; ``None`` when the first line has them.
        quotes: Whether a field may stand in double quotes, with the delimiter inside. A line never spans two.
        comment: How lines start that hold no data, if there are such.
        trim: Whether spaces around a token belong to the format.
    """

    delimiter: str = ","
    columns: tuple[str, ...] | None = None
    quotes: bool = False
    comment: str | None = None
    trim: bool = False


@dataclass(frozen=True)
class Join:
    """A table of features of one id, such as a user's.

    Attributes:
        files: Its files; the first row of an id counts.
        key: The id's column, whole numbers, here and in the rows that are joined.
        tokens: Columns of tokens.
        numbers: Columns of numbers; an empty field is a missing value.
        renamed: Column → its name in the recipe.
    """

    files: tuple[Path, ...]
    key: str
    tokens: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read."""
        return (self.key, *self.tokens, *self.numbers)


@dataclass(frozen=True)
class Recipe:
    """From official files to a prepared data set.

    Attributes:
        name: Short name.
        source: What the data are, for people.
        files: The files, in the order of their rows.
        form: How they are written.
        tokens: Columns that are read as tokens. An empty field is a missing token.
        numbers: Columns that are read as numbers. Only in those that are numeric features a field may be empty.
        categorical: Feature columns of tokens, after :attr:`derive`.
        numeric: Feature columns of numbers, after :attr:`derive`.
        log1p: The numeric features to take as ``log(1 + x)``.
        labels: Label column → number of classes, after :attr:`derive`; a row with another label is damaged.
        min_count: A token needs this many training rows to have an id of its own.
        held_out: How rows are divided at random; ``None`` when :attr:`derive` has divided them. When it has divided
            them and ``held_out`` is there too, what is divided at random is its training rows.
        joins: Tables of features.
        derive: Function (rows of a block, their file) → rows with the columns above, and maybe :data:`SPLIT`. Tokens
            are dictionary columns of text, numbers are ``float64``. It must not change the order of rows.
        splits: Whether :attr:`derive` gives :data:`SPLIT`.
        max_damaged: Largest share of damaged lines.
        version: Version of :attr:`derive`; part of the cache key.
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
    version: int = 1

    @property
    def inputs(self) -> list[Path]:
        """All files, those of the joins too."""
        return [*self.files, *(path for join in self.joins for path in join.files)]

    def __post_init__(self) -> None:
        if not isinstance(self.min_count, int) or self.min_count < 1:
            raise ValueError(f"min_count is {self.min_count!r}; give 1 (every token has an id) or more")
        if not isinstance(self.max_damaged, int | float) or not 0 <= self.max_damaged < 1:
            raise ValueError(
                f"max_damaged is {self.max_damaged!r}; give the largest share of damaged lines, from 0 to below 1"
            )
