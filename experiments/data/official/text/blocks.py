"""Text files in blocks of whole lines that can be read independently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BYTES = 16 << 20
"""Bytes of a block: a quarter of a million rows of TikTok."""

MAX_LINE = 1 << 20
"""Bytes of the longest line that is accepted."""

_BOM = b"\xef\xbb\xbf"
_ARCHIVES = {".gz", ".tgz", ".zip", ".7z", ".xz", ".zst", ".bz2", ".tar"}


@dataclass(frozen=True)
class Block:
    """The lines of a file that start in a range of bytes.

    Attributes:
        path: The file.
        start: First byte.
        stop: Last byte, exclusive.
        at_line_start: Whether a line starts at ``start``, as it does at the top of a file and after its header.
    """

    path: str
    start: int
    stop: int
    at_line_start: bool

    def read(self) -> bytes:
        """Read the lines; the last one is read to its end.

        Raises:
            ValueError: A line is longer than :data:`MAX_LINE`.
        """
        with open(self.path, "rb") as file:
            file.seek(self.start if self.at_line_start else self.start - 1)
            data = file.read(self.stop - file.tell())
            if not self.at_line_start:
                first = data.find(b"\n") + 1
                if first == 0:  # the whole range belongs to a line of an earlier block
                    return b""
                data = data[first:]
            if not data or data.endswith(b"\n"):
                return data
            rest = file.read(MAX_LINE)
            end = rest.find(b"\n") + 1
            if not end and len(rest) == MAX_LINE:
                raise ValueError(
                    f"{self.path} has a line of more than {MAX_LINE:,} bytes around byte {self.stop:,}; it is not a "
                    "text file of rows, or it is damaged: get it again"
                )
            return data + (rest[:end] if end else rest)


def read_header(path: Path, delimiter: str) -> tuple[tuple[str, ...], int]:
    """Read the field names in the first line; also return the byte at which the second line starts."""
    with path.open("rb") as file:
        line = file.readline(MAX_LINE)
    text = line.removeprefix(_BOM).decode(errors="replace")
    return tuple(name.strip().strip('"') for name in text.split(delimiter)), len(line)


def split_into_blocks(path: Path, skipped: int = 0, size: int | None = None) -> list[Block]:
    """Divide a file into blocks.

    Args:
        path: The file.
        skipped: Bytes of the header.
        size: Bytes of a block; ``None`` for :data:`BYTES`.
    """
    total, size = path.stat().st_size, size or BYTES
    if not skipped and total >= len(_BOM):
        with path.open("rb") as file:
            skipped = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    return [
        Block(str(path), start, min(start + size, total), at_line_start=start == skipped)
        for start in range(skipped, total, size)
    ]


def check_files(paths: Sequence[Path]) -> None:
    """Check that files exist and can be read in blocks.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is empty or compressed.
    """
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file on this machine; give the official file")
        if path.suffix in _ARCHIVES:
            raise ValueError(f"{path} is compressed; unpack it first, since its blocks are read in parallel")
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty; get it again")
