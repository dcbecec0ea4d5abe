"""From the bytes of some lines to columns, and what is wrong with the lines that give none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from experiments.data.official.recipe import Format

FEW = 5
"""Damaged lines of a block that are told; the others are counted."""

SHOWN = 80
"""Characters of a damaged line that are shown."""


@dataclass(frozen=True)
class Damage:
    """A line that is not what it should be.

    Attributes:
        line: Its number in the block, counted from 1.
        reason: What is wrong.
    """

    line: int
    reason: str


@dataclass
class Lines:
    """The lines of a block.

    Attributes:
        table: Columns of tokens, a row for each line that is whole.
        number: Number in the block, from 1, of the line of each row.
        total: Number of lines.
        damaged: Number of damaged lines.
        damages: The first of them.
    """

    table: pa.Table
    number: npt.NDArray[np.int64]
    total: int
    damaged: int = 0
    damages: list[Damage] = field(default_factory=list)

    def drop(self, wrong: npt.NDArray[np.bool_], reasons: Sequence[str]) -> None:
        """Take out rows as damaged.

        Args:
            wrong: Which rows.
            reasons: Why, for the first :data:`FEW` of them.
        """
        numbers = self.number[wrong]
        self.damaged += len(numbers)
        found = [Damage(int(number), reason) for number, reason in zip(numbers, reasons, strict=False)]
        self.damages = sorted([*self.damages, *found], key=lambda damage: damage.line)[:FEW]
        self.table = self.table.filter(pa.array(~wrong))
        self.number = self.number[~wrong]


def parse(data: bytes, form: Format, names: Sequence[str], wanted: Sequence[str]) -> Lines:
    """Read lines.

    Args:
        data: Whole lines.
        form: How they are written.
        names: Names of the fields, in order.
        wanted: Those to read.

    Returns:
        The wanted columns, as dictionaries of text.
    """
    total = data.count(b"\n") + (not data.endswith(b"\n") if data else 0)
    numbers: npt.NDArray[np.int64] | None = None
    damages: list[Damage] = []
    if _unusual(data, form):
        data, numbers, damages = _sorted_out(data, form)
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
    places = [place for place, _ in bad]
    damages += [Damage(int(numbers[place]), f"{found} fields instead of {len(names)}") for place, found in bad if found]
    kept = np.delete(numbers, places)
    if len(kept) != table.num_rows:
        raise AssertionError(f"{table.num_rows} rows of {len(kept)} lines")
    # The reader can encode as well, in a quarter more time.
    encode = trimmed if form.trim else pc.dictionary_encode
    table = pa.table({name: encode(table[name]) for name in table.column_names})
    first = sorted(damages, key=lambda damage: damage.line)[:FEW]
    return Lines(table, kept, total, len(damages), first)


def trimmed(column: pa.ChunkedArray) -> pa.Array:
    """Tokens without the spaces around them; a token of spaces alone is missing."""
    text = pc.utf8_trim_whitespace(column.combine_chunks())
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    return pc.dictionary_encode(text)


def numbers_of(column: pa.ChunkedArray | pa.Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The numbers that tokens spell, NaN where there is none; and where there is a token that spells no finite one."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = np.append(_spelled(column.dictionary), np.nan)
    codes = pc.fill_null(column.indices, len(values) - 1).to_numpy(zero_copy_only=False)
    found = values[codes]
    missing = codes == len(values) - 1
    return found, ~np.isfinite(found) & ~missing


def _spelled(tokens: pa.Array) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(tokens.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid:
        return np.array([_number(token) for token in tokens.to_pylist()], dtype=np.float64)


def _number(token: str) -> float:
    try:
        return float(token) if "_" not in token else np.nan
    except ValueError:
        return np.nan


def _unusual(data: bytes, form: Format) -> bool:
    """Whether the lines need a look one by one."""
    comment = (form.comment or "").encode()
    return (
        not _is_text(data)
        or data.startswith((b"\n", b"\r\n"))
        or b"\n\n" in data
        or (b"\r" in data and (b"\n\r\n" in data or data.count(b"\r") != data.count(b"\r\n")))
        or bool(comment and (data.startswith(comment) or b"\n" + comment in data))
        or (form.quotes and b'"' in data)
    )


def _sorted_out(data: bytes, form: Format) -> tuple[bytes, npt.NDArray[np.int64], list[Damage]]:
    """Lines that the reader can take, with their numbers; empty lines and comments are no rows and no damage."""
    comment = (form.comment or "").encode()
    kept: list[bytes] = []
    numbers: list[int] = []
    damages: list[Damage] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        line = line.removesuffix(b"\r")
        if not line or (comment and line.startswith(comment)):
            continue
        if not _is_text(line):
            damages.append(Damage(number, f"no UTF-8: {line[:SHOWN]!r}"))
        elif b"\r" in line:
            damages.append(Damage(number, f"a carriage return inside the line: {line[:SHOWN]!r}"))
        elif form.quotes and line.count(b'"') % 2:
            damages.append(Damage(number, f"a quotation mark without its partner: {line[:SHOWN]!r}"))
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
