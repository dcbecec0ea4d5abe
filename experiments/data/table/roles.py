"""The role of each column of a user's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nmt.experiments.data.common.options import check_min_count, is_whole_number
from nmt.experiments.data.table.splits import Declared


@dataclass(frozen=True)
class Roles:
    """The role of each column of a table.

    Attributes:
        categorical: Columns of tokens: integers, strings, booleans, dates.
        numeric: Columns of numbers.
        labels: Column → number of classes (2 = binary, 0 = real-valued, ``None`` = infer from the values).
        packed: Column → number of bits, a multiple of 8.
        query: Column that groups rows into lists, or ``None``.
        split: How rows are split: a column with the values train, valid and test, or a mapping with ``by``
            (:class:`~nmt.experiments.data.table.splits.Splitter`).
        min_count: Training rows that a token needs to have an id of its own.
        log1p: Numeric columns to transform by ``log(1 + x)``, e.g. counts and durations.

    Raises:
        ValueError: A column has two roles, there is no feature or no label, or an option is out of range.
    """

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    labels: Mapping[str, int | None] = field(default_factory=dict)
    packed: Mapping[str, int] = field(default_factory=dict)
    query: str | None = None
    split: Declared = "split"
    min_count: int = 1
    log1p: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_min_count(self.min_count)
        if not self.labels:
            raise ValueError("labels is empty; name at least one label column, every task needs one")
        if not (self.categorical or self.numeric or self.packed):
            raise ValueError("there is no feature column; name some under categorical, numeric or packed")
        seen: dict[str, str] = {}
        for role, names in self._by_role().items():
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
            if not is_whole_number(bits, 8) or bits % 8:
                raise ValueError(f"packed column {name!r} is said to hold {bits!r} bits; give a positive multiple of 8")
        for name, classes in self.labels.items():
            if classes is not None and (not is_whole_number(classes, 0) or classes == 1):
                raise ValueError(
                    f"label {name!r} is said to have {classes!r} classes; give 2 for binary, n for n classes, "
                    "0 for a real-valued label"
                )

    def _by_role(self) -> dict[str, Sequence[str]]:
        return {
            "split": [self.split] if isinstance(self.split, str) else [],
            "query": [self.query] if self.query else [],
            "labels": list(self.labels),
            "categorical": self.categorical,
            "numeric": self.numeric,
            "packed": list(self.packed),
        }

    @property
    def columns(self) -> list[str]:
        """All columns with a role."""
        return list(dict.fromkeys([name for names in self._by_role().values() for name in names]))
