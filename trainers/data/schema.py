"""Schema of a prepared data set: feature columns, label columns, the grouping of rows into examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1
"""Version of the prepared format; a folder of another version is refused."""

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Numeric:
    """Statistics of one numeric feature over the training split; models standardise with them.

    Attributes:
        mean: Mean of the finite values.
        std: Standard deviation of the finite values; 1.0 for a constant column.
    """

    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Schema:
    """Columns of a prepared data set.

    Attributes:
        categorical: Column → vocabulary size. Ids are integers in ``[0, size)``; 0 is PAD, ``size - 1`` is OOV.
        numeric: Column → statistics over the training split. Values are raw (not standardised).
        packed: Column → number of bits, for features stored as packed bytes (``numpy.packbits``, fixed width).
        labels: Column → number of classes (2 for binary, 0 for a real-valued label). A null is a missing label.
        query: Column that groups rows into lists (rows of a list are adjacent), or ``None`` when a row is an example.
        rows: Split → number of rows.
        examples: Split → number of examples (lists when ``query`` is set, else rows).
        fingerprint: Hash of the content of every file; part of every stage key.
        source: Description of the raw data, for display.
    """

    categorical: Mapping[str, int] = field(default_factory=dict)
    numeric: Mapping[str, Numeric] = field(default_factory=dict)
    packed: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    query: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    source: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """All feature columns, in the order that models read."""
        return (*self.categorical, *self.numeric, *self.packed)

    def to_json(self) -> str:
        """Return the text of ``schema.json``."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Read ``schema.json``.

        Raises:
            ValueError: The text is not a prepared schema, or has another format version.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            version = raw.pop("version")
        except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"schema.json is not a prepared schema ({error}); prepare the data set again") from error
        if version != VERSION:
            raise ValueError(
                f"schema.json has format version {version}, this program reads {VERSION}; prepare the data set again"
            )
        numeric = {name: Numeric(**value) for name, value in raw.pop("numeric").items()}
        return cls(numeric=numeric, **raw)
