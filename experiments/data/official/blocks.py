"""Text files in blocks of whole lines, each of which can be read without the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BYTES = 16 << 20
"""Bytes of a block; a quarter of a million rows of TikTok."""

LONGEST = 1 << 20
"""Bytes that a line may run over the end of its block."""

_MARK = b"\xef\xbb\xbf"
_PACKED = {".gz", ".tgz", ".zip", ".7z", ".xz", ".zst", ".bz2", ".tar"}


@dataclass(frozen=True)
class Block:
    """The lines of a file that begin in a range of bytes.

    Attributes:
        path: The file.
        start: First byte.
        stop: Last byte, exclusive.
        begins: Whether a line begins at ``start``, as at the top of a file and after its header.
    """

    path: str
    start: int
    stop: int
    begins: bool

    def read(self) -> bytes:
        """The lines, the last one whole.

        Raises:
            ValueError: A line has no end.
        """
        with open(self.path, "rb") as file:
            file.seek(self.start if self.begins else self.start - 1)
            data = file.read(self.stop - file.tell())
            if not self.begins:
                first = data.find(b"\n") + 1
                if first == 0:  # all of it belongs to a line of an earlier block
                    return b""
                data = data[first:]
            if not data or data.endswith(b"\n"):
                return data
            rest = file.read(LONGEST)
            end = rest.find(b"\n") + 1
            if not end and len(rest) == LONGEST:
                raise ValueError(
                    f"{self.path} has a line of more than {LONGEST:,} bytes around byte {self.stop:,}; it is no file "
                    "of rows, or damaged: get it again"
                )
            return data + (rest[:end] if end else rest)


def header(path: Path) -> tuple[bytes, int]:
    """The first line of a file without its end, and the place of the second line."""
    with path.open("rb") as file:
        line = file.readline(LONGEST)
    return line.removeprefix(_MARK).rstrip(b"\r\n"), len(line)


def blocks(path: Path, skipped: int = 0, size: int | None = None) -> list[Block]:
    """The blocks of a file.

    Args:
        path: The file.
        skipped: Bytes at its top that are no rows.
        size: Bytes of a block.
    """
    total, size = path.stat().st_size, size or BYTES
    if not skipped and total >= len(_MARK):
        with path.open("rb") as file:
            skipped = len(_MARK) if file.read(len(_MARK)) == _MARK else 0
    return [
        Block(str(path), start, min(start + size, total), begins=start == skipped)
        for start in range(skipped, total, size)
    ]


def check_files(paths: Sequence[Path]) -> None:
    """Refuse files that are not there, empty, or packed.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is empty or packed.
    """
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is no file on this machine; give the official file")
        if path.suffix in _PACKED:
            raise ValueError(f"{path} is packed; unpack it first, blocks of it are read side by side")
        if not path.stat().st_size:
            raise ValueError(f"{path} is empty; get it again")
