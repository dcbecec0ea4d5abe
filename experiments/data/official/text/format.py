"""How the lines of a text file are written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """The format of a text file with one row a line.

    Attributes:
        delimiter: Separator of fields.
        columns: Names of the fields; ``None`` if the first line has them.
        quotes: Whether a field may be in double quotes, and then contain the delimiter.
        comment: Start of lines that hold no data; ``None`` if there are none.
        trim: Whether to drop spaces around a token.
    """

    delimiter: str = ","
    columns: tuple[str, ...] | None = None
    quotes: bool = False
    comment: str | None = None
    trim: bool = False
