"""The encoder: raw rows become exactly the tensors that the same rows became in training."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nmt.trainers.encoding.numbers import NumberColumn
from nmt.trainers.encoding.tokens import TokenColumn, comparable

VERSION = 1
"""Version of the files; those of another version are refused."""

ENCODER = "encoder.json"
VOCABULARY = "vocabulary.parquet"

VOCABULARY_SCHEMA = pa.schema(
    [("column", pa.string()), ("token", pa.string()), ("id", pa.int32()), ("count", pa.int64())]
)
"""Columns of the file of all vocabularies: tokens as text, their ids, and their training rows where known."""


@dataclass(frozen=True)
class Problem:
    """A value of a row that cannot be used; the row gets no prediction.

    Attributes:
        row: Row of the table, from 0.
        column: The column.
        text: What is wrong with it.
    """

    row: int
    column: str
    text: str


@dataclass(frozen=True)
class Encoded:
    """Rows as a model reads them.

    Attributes:
        categorical: Ids, int32, shape ``(rows, categorical columns)``.
        numeric: float32, shape ``(rows, numeric columns)``.
        packed: uint8, shape ``(rows, bytes of all packed columns)``.
        problems: Values that cannot be used; their rows hold what a missing value becomes.
    """

    categorical: npt.NDArray[np.int32]
    numeric: npt.NDArray[np.float32]
    packed: npt.NDArray[np.uint8]
    problems: tuple[Problem, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.categorical)


@dataclass(frozen=True)
class Encoder:
    """How each raw feature column is encoded, in the order in which models read them.

    Attributes:
        categorical: Column → its vocabulary.
        numeric: Column → its transformation.
        packed: Column → number of bits, a multiple of 8; raw values are bytes (``numpy.packbits``).
        query: Column that groups rows into lists, or ``None``. Predictions do not need it, ranking metrics do.
        min_count: Training rows that a token needed to have an id of its own.
        counts: Categorical column → training rows of each token, where they are known.
    """

    categorical: Mapping[str, TokenColumn] = field(default_factory=dict)
    numeric: Mapping[str, NumberColumn] = field(default_factory=dict)
    packed: Mapping[str, int] = field(default_factory=dict)
    query: str | None = None
    min_count: int = 1
    counts: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Raw feature columns."""
        return (*self.categorical, *self.numeric, *self.packed)

    def encode(self, rows: pa.Table) -> Encoded:
        """Encode rows.

        Args:
            rows: The raw rows; further columns are ignored.

        Raises:
            ValueError: A column is missing or has a type that cannot hold its values.
        """
        if missing := [name for name in self.columns if name not in rows.column_names]:
            raise ValueError(
                f"the data lack {_join(missing)}, which the model reads; they have {_join(rows.column_names)}. "
                "Rename or add the columns"
            )
        problems: list[Problem] = []
        categorical = np.empty((rows.num_rows, len(self.categorical)), np.int32)
        for place, (name, tokens) in enumerate(self.categorical.items()):
            categorical[:, place] = _of(name, lambda n=name, t=tokens: t.ids(rows[n])).to_numpy()
        numeric = np.empty((rows.num_rows, len(self.numeric)), np.float32)
        for place, (name, column) in enumerate(self.numeric.items()):
            numeric[:, place], wrong = _of(name, lambda n=name, c=column: c.numbers(rows[n]))
            allowed = "values from 0 up are allowed" if column.log1p else "finite float32 values are allowed"
            problems += [Problem(int(row), name, f"{rows[name][row]}: {allowed}") for row in np.flatnonzero(wrong)]
        packed = np.zeros((rows.num_rows, sum(bits // 8 for bits in self.packed.values())), np.uint8)
        start = 0
        for name, bits in self.packed.items():
            packed[:, start : start + bits // 8], wrong = _of(name, lambda n=name, b=bits: _bytes(rows[n], b // 8))
            problems += [
                Problem(int(row), name, f"{bits} bits are {bits // 8} bytes in every row")
                for row in np.flatnonzero(wrong)
            ]
            start += bits // 8
        return Encoded(categorical, numeric, packed, tuple(problems))

    def to_files(self) -> dict[str, bytes]:
        """Return the encoder as files: name → content."""
        sizes = {name: column.size for name, column in self.categorical.items()}
        types = {name: column.type for name, column in self.categorical.items()}
        empty = [name for name, column in self.categorical.items() if column.empty_is_missing]
        head = write_head(types, sizes, self.numeric, self.packed, self.query, self.min_count, empty)
        parts = [
            pa.table(
                [
                    pa.repeat(name, len(column.tokens)),
                    to_text(column.tokens),
                    pa.array(np.arange(1, len(column.tokens) + 1, dtype=np.int32)),
                    pa.array(self.counts[name]) if name in self.counts else pa.nulls(len(column.tokens), pa.int64()),
                ],
                schema=VOCABULARY_SCHEMA,
            )
            for name, column in self.categorical.items()
        ]
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables([VOCABULARY_SCHEMA.empty_table(), *parts]), buffer, compression="zstd")
        return {ENCODER: head, VOCABULARY: buffer.getvalue().to_pybytes()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Encoder:
        """Read what :meth:`to_files` wrote.

        Raises:
            ValueError: The files are damaged, or of another version.
        """
        try:
            content: dict[str, Any] = json.loads(files[ENCODER])
            version = content["version"]
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{ENCODER} is damaged ({error}); export or prepare again") from error
        if version != VERSION:
            raise ValueError(f"{ENCODER} has version {version}, this program reads {VERSION}; export or prepare again")
        try:
            return cls._of(content, pq.read_table(pa.BufferReader(files[VOCABULARY])))
        except (KeyError, TypeError, AttributeError, pa.ArrowException, OSError) as error:
            raise ValueError(f"{VOCABULARY} does not fit {ENCODER} ({error}); export or prepare again") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any], vocabulary: pa.Table) -> Encoder:
        types = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(content["types"])))
        categorical, counts = {}, {}
        for name, found in content["categorical"].items():
            mine = vocabulary.filter(pc.equal(vocabulary["column"], name)).sort_by("id")
            kind = types.field(name).type
            tokens = from_text(mine["token"].combine_chunks(), kind)
            if len(tokens) + 2 != found["size"]:
                raise KeyError(f"column {name!r} has {len(tokens)} tokens, not {found['size'] - 2}")
            categorical[name] = TokenColumn(kind, tokens, found["empty_is_missing"])
            if not mine["count"].null_count:
                counts[name] = mine["count"].to_numpy()
        numeric = {name: NumberColumn(**found) for name, found in content["numeric"].items()}
        return cls(categorical, numeric, content["packed"], content["query"], content["min_count"], counts)


def write_head(
    types: Mapping[str, pa.DataType],
    sizes: Mapping[str, int],
    numeric: Mapping[str, NumberColumn],
    packed: Mapping[str, int],
    query: str | None,
    min_count: int,
    empty_is_missing: Collection[str] = (),
) -> bytes:
    """Return the content of ``encoder.json``: everything but the tokens.

    Args:
        types: Categorical column → type of its raw values.
        sizes: Categorical column → number of ids, PAD and OOV included.
        numeric: Numeric column → its transformation.
        packed: Packed column → number of bits.
        query: Column that groups rows into lists.
        min_count: Training rows that a token needed to have an id of its own.
        empty_is_missing: Categorical columns of which an empty text is a missing value.
    """
    content = {
        "version": VERSION,
        "categorical": {
            name: {"type": str(kind), "size": sizes[name], "empty_is_missing": name in empty_is_missing}
            for name, kind in types.items()
        },
        "types": base64.b64encode(pa.schema(list(types.items())).serialize().to_pybytes()).decode(),
        "numeric": {name: {"log1p": column.log1p, "fill": column.fill} for name, column in numeric.items()},
        "packed": dict(packed),
        "query": query,
        "min_count": min_count,
        "ids": {"PAD": 0, "first token": 1, "OOV": "size - 1: null, NaN, unseen and rare tokens"},
    }
    return json.dumps(content, indent=1).encode()


def to_text(tokens: pa.Array) -> pa.Array:
    """Return tokens as texts that :func:`from_text` reads."""
    if pa.types.is_binary(tokens.type) or pa.types.is_large_binary(tokens.type):
        return pa.array([token.hex() for token in tokens.to_pylist()], pa.string())
    return tokens.cast(pa.string())


def from_text(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the tokens of a raw column of type ``kind``, as they are compared."""
    wanted = comparable(pa.array([], kind)).type
    if pa.types.is_binary(wanted) or pa.types.is_large_binary(wanted):
        return pa.array([bytes.fromhex(text) for text in texts.to_pylist()], wanted)
    return texts.cast(wanted)


def _bytes(values: pa.ChunkedArray, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return packed values, shape ``(rows, width)``, and a mask of those of another width, which are zero."""
    array = values.combine_chunks()
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if not any(kind(array.type) for kind in kinds):
        raise ValueError(f"holds {array.type}; give bytes, one numpy.packbits(…).tobytes() a row")
    wrong = pc.fill_null(pc.not_equal(pc.binary_length(array), width), True).to_numpy(zero_copy_only=False)
    whole = pc.if_else(pa.array(~wrong), array.cast(pa.binary()), pa.scalar(bytes(width), pa.binary()))
    fixed = whole.cast(pa.binary(width))
    data = np.frombuffer(fixed.buffers()[1] or b"", np.uint8)
    return data[fixed.offset * width : (fixed.offset + len(fixed)) * width].reshape(len(fixed), width), wrong


def _of(name: str, encode: Any) -> Any:
    """Call ``encode``; an error of it names the column."""
    try:
        return encode()
    except ValueError as error:
        raise ValueError(f"column {name!r} {error}") from error


def _join(names: Sequence[str], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}" or "no column"
