"""What each column of a user's table is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Roles:
    """Which column of a table is what.

    Attributes:
        categorical: Columns of tokens: integers, strings, booleans, dates.
        numeric: Columns of numbers.
        labels: Column → number of classes (2 = binary, 0 = real-valued, ``None`` = infer from the values).
        packed: Column → number of bits, a multiple of 8.
        query: Column that groups rows into lists, or ``None``.
        split: Column that says train, valid or test.
        min_count: A token needs this many training rows to have an id of its own.
        log1p: The numeric columns to take as ``log(1 + x)``, e.g. counts and durations.
    """

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    labels: Mapping[str, int | None] = field(default_factory=dict)
    packed: Mapping[str, int] = field(default_factory=dict)
    query: str | None = None
    split: str = "split"
    min_count: int = 1
    log1p: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not _whole(self.min_count, least=1):
            raise ValueError(f"min_count is {self.min_count!r}; give 1 (every token has an id) or more")
        if not self.labels:
            raise ValueError("labels is empty; name at least one label column, every task needs one")
        if not (self.categorical or self.numeric or self.packed):
            raise ValueError("there is no feature column; name some under categorical, numeric or packed")
        seen: dict[str, str] = {}
        for role, names in self._named().items():
            for name in names:
                if name in seen:
                    raise ValueError(
                        f"column {name!r} is named under {seen[name]} and under {role}; a column has one role "
                        "(a label among the features would give the answer away)"
                    )
                seen[name] = role
        if unknown := [name for name in self.log1p if name not in self.numeric]:
            raise ValueError(f"log1p names {unknown}, allowed are the numeric columns {list(self.numeric)}")
        for name, bits in self.packed.items():
            if not _whole(bits, least=8) or bits % 8:
                raise ValueError(f"packed column {name!r} is said to hold {bits!r} bits; give a positive multiple of 8")
        for name, classes in self.labels.items():
            if classes is not None and (not _whole(classes, least=0) or classes == 1):
                raise ValueError(
                    f"label {name!r} is said to have {classes!r} classes; give 2 for binary, n for n classes, "
                    "0 for a real-valued label"
                )

    def _named(self) -> dict[str, Sequence[str]]:
        return {
            "split": [self.split],
            "query": [self.query] if self.query else [],
            "labels": list(self.labels),
            "categorical": self.categorical,
            "numeric": self.numeric,
            "packed": list(self.packed),
        }

    @property
    def columns(self) -> list[str]:
        """Every column that is read."""
        return [name for names in self._named().values() for name in names]


def _whole(value: object, *, least: int) -> bool:
    """Whether an option, which may come from YAML as anything, is a whole number of at least ``least``."""
    return isinstance(value, int) and value >= least
