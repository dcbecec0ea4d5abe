"""Lines of text parsed to columns, and the damaged lines among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from nmt.experiments.data.official.text.format import Format

MAX_DAMAGES = 5
"""Damaged lines of a block that are reported one by one; the others are only counted."""

SHOWN_BYTES = 80
"""Bytes of a damaged line that are shown."""


@dataclass(frozen=True)
class Damage:
    """A damaged line.

    Attributes:
        line: Its number in the block, counted from 1.
        reason: What is wrong with it.
    """

    line: int
    reason: str


@dataclass
class Lines:
    """The parsed lines of a block.

    Attributes:
        table: Columns of tokens, one row per undamaged line.
        number: Line number in the block, from 1, of each row.
        total: Number of lines, damaged ones included.
        damaged: Number of damaged lines.
        damages: The first :data:`MAX_DAMAGES` of them.
    """

    table: pa.Table
    number: npt.NDArray[np.int64]
    total: int
    damaged: int = 0
    damages: list[Damage] = field(default_factory=list)

    def drop(self, wrong: npt.NDArray[np.bool_], reasons: Sequence[str]) -> None:
        """Remove rows and count their lines as damaged.

        Args:
            wrong: Mask of the rows.
            reasons: What is wrong with the first :data:`MAX_DAMAGES` of them.
        """
        numbers = self.number[wrong]
        self.damaged += len(numbers)
        found = [Damage(int(number), reason) for number, reason in zip(numbers, reasons, strict=False)]
        self.damages = sorted([*self.damages, *found], key=lambda damage: damage.line)[:MAX_DAMAGES]
        self.table = self.table.filter(pa.array(~wrong))
        self.number = self.number[~wrong]


def parse(data: bytes, form: Format, names: Sequence[str], wanted: Sequence[str]) -> Lines:
    """Parse lines to columns.

    Args:
        data: Whole lines.
        form: Their format.
        names: Names of the fields, in order.
        wanted: Names of the fields to keep.

    Returns:
        The wanted columns, as dictionary columns of text.
    """
    total = data.count(b"\n") + (not data.endswith(b"\n") if data else 0)
    numbers: npt.NDArray[np.int64] | None = None
    damages: list[Damage] = []
    if _has_irregular_lines(data, form):
        data, numbers, damages = _remove_irregular_lines(data, form)
    bad: list[tuple[int, int]] = []

    def invalid(row: csv.InvalidRow) -> str:
        bad.append((row.number - 1, row.actual_columns))
        return "skip"

    if data:
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, column_names=list(names), block_size=len(data) + 1),
            csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char='"' if form.quotes else False,
                invalid_row_handler=invalid,
                ignore_empty_lines=False,
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=list(wanted),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    else:
        table = pa.schema([(name, pa.string()) for name in wanted]).empty_table()
    if numbers is None:
        numbers = np.arange(1, total + 1)
    bad_rows = [row for row, _ in bad]
    damages += [Damage(int(numbers[row]), f"{found} fields instead of {len(names)}") for row, found in bad if found]
    kept = np.delete(numbers, bad_rows)
    if len(kept) != table.num_rows:
        raise AssertionError(f"the CSV reader made {table.num_rows} rows of {len(kept)} lines")
    # The reader could encode dictionaries itself, but takes a quarter longer for it.
    encode = trim_tokens if form.trim else pc.dictionary_encode
    table = pa.table({name: encode(table[name]) for name in table.column_names})
    first = sorted(damages, key=lambda damage: damage.line)[:MAX_DAMAGES]
    return Lines(table, kept, total, len(damages), first)


def trim_tokens(column: pa.ChunkedArray) -> pa.Array:
    """Drop the spaces around tokens; a token of nothing but spaces becomes null."""
    text = pc.utf8_trim_whitespace(column.combine_chunks())
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    return pc.dictionary_encode(text)


def parse_numbers(column: pa.ChunkedArray | pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Convert a dictionary column of tokens to numbers.

    Returns:
        The numbers, NaN where there is none; and a mask of the tokens that are no finite number.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = np.append(_to_floats(column.dictionary), np.nan)
    codes = pc.fill_null(column.indices, len(values) - 1).to_numpy(zero_copy_only=False)
    found = values[codes]
    missing = codes == len(values) - 1
    return found, ~np.isfinite(found) & ~missing


def _to_floats(tokens: pa.Array) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(tokens.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid:
        return np.array([_to_float(token) for token in tokens.to_pylist()], dtype=np.float64)


def _to_float(token: str) -> float:
    try:
        return float(token) if "_" not in token else np.nan
    except ValueError:
        return np.nan


def _has_irregular_lines(data: bytes, form: Format) -> bool:
    """Return whether some lines may not suit the CSV reader, so that each has to be checked."""
    comment = (form.comment or "").encode()
    return (
        not _is_text(data)
        or data.startswith((b"\n", b"\r\n"))
        or b"\n\n" in data
        or (b"\r" in data and (b"\n\r\n" in data or data.count(b"\r") != data.count(b"\r\n")))
        or bool(comment and (data.startswith(comment) or b"\n" + comment in data))
        or (form.quotes and b'"' in data)
    )


def _remove_irregular_lines(data: bytes, form: Format) -> tuple[bytes, npt.NDArray[np.int64], list[Damage]]:
    """Keep the lines that the CSV reader can parse, with their numbers; empty lines and comments are not damage."""
    comment = (form.comment or "").encode()
    kept: list[bytes] = []
    numbers: list[int] = []
    damages: list[Damage] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        line = line.removesuffix(b"\r")
        if not line or (comment and line.startswith(comment)):
            continue
        if not _is_text(line):
            damages.append(Damage(number, f"not UTF-8: {line[:SHOWN_BYTES]!r}"))
        elif b"\r" in line:
            damages.append(Damage(number, f"a carriage return inside the line: {line[:SHOWN_BYTES]!r}"))
        elif form.quotes and line.count(b'"') % 2:
            damages.append(Damage(number, f"a quotation mark without its partner: {line[:SHOWN_BYTES]!r}"))
        else:
            kept.append(line)
            numbers.append(number)
    return b"\n".join(kept), np.array(numbers, dtype=np.int64), damages


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
