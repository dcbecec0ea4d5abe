"""Lines parsed to columns, damaged lines, and blocks of lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nmt.experiments.data.official.text import blocks as blocks_module
from nmt.experiments.data.official.text.blocks import check_files, read_header, split_into_blocks
from nmt.experiments.data.official.text.format import Format
from nmt.experiments.data.official.text.lines import parse, parse_numbers

TSV = Format("\t", ("a", "b", "c"))


def columns(data: bytes, form: Format = TSV) -> dict[str, list[str | None]]:
    table = parse(data, form, ("a", "b", "c"), ("a", "c")).table
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.parametrize("end", [b"\n", b""])
def test_whole_lines(end: bytes) -> None:
    found = parse(b"1\tx\t3\n4\ty\t\xc3\xa9" + end, TSV, ("a", "b", "c"), ("a", "c"))
    assert found.table.to_pydict() == {"a": ["1", "4"], "c": ["3", "é"]}
    assert (found.total, found.damaged, found.number.tolist()) == (2, 0, [1, 2])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1\t2", "2 fields instead of 3"),
        (b"1\t2\t3\t4", "4 fields instead of 3"),
        (b"1\t\xff\t3", r"not UTF-8: b'1\\t\\xff\\t3'"),
        (b"1\t2\r\t3", "a carriage return inside the line"),
    ],
)
def test_a_damaged_line_has_its_number(bad: bytes, reason: str) -> None:
    found = parse(b"1\t2\t3\n" + bad + b"\n7\t8\t9\n", TSV, ("a", "b", "c"), ("a", "c"))
    assert found.table.to_pydict() == {"a": ["1", "7"], "c": ["3", "9"]}
    assert found.number.tolist() == [1, 3]
    assert found.damaged == 1
    assert found.damages[0].line == 2
    assert reason.replace(r"\\", "\\") in found.damages[0].reason


def test_numbers_of_lines_after_every_kind_of_damage() -> None:
    data = b"\n1\t2\t3\n\xff\n1\t2\n\n4\t5\t6\n\xfe\n7\t8\t9"
    found = parse(data, TSV, ("a", "b", "c"), ("a",))
    assert found.table["a"].to_pylist() == ["1", "4", "7"]
    assert found.number.tolist() == [2, 6, 8]
    assert [damage.line for damage in found.damages] == [3, 4, 7]
    assert (found.total, found.damaged) == (8, 3)


def test_only_the_first_damages_are_told() -> None:
    found = parse(b"1\n" * 100 + b"1\t2\t3\n", TSV, ("a", "b", "c"), ("a",))
    assert (found.damaged, len(found.damages), found.table.num_rows) == (100, 5, 1)


def test_quotes() -> None:
    form = Format(",", quotes=True)
    assert columns(b'1,x,"3,4"\n', form) == {"a": ["1"], "c": ["3,4"]}
    found = parse(b'1,x,3\n1,"x,3\n5,6,"7,8"\n', form, ("a", "b", "c"), ("a", "c"))
    assert found.table.to_pydict() == {"a": ["1", "5"], "c": ["3", "7,8"]}
    assert [(damage.line, damage.reason[:11]) for damage in found.damages] == [(2, "a quotation")]
    assert columns(b'"1,x,3\n4,5,6"\n', Format(",")) == {"a": ['"1', "4"], "c": ["3", '6"']}


def test_comments_spaces_and_missing_tokens() -> None:
    form = Format(",", comment="|", trim=True)
    assert columns(b"|1x3\n 1, x, y z \r\n2,,  \n\n", form) == {"a": ["1", "2"], "c": ["y z", None]}
    assert columns(b"|only a comment\n", form) == {"a": [], "c": []}
    assert columns(b"") == {"a": [], "c": []}


def test_words_that_elsewhere_mean_missing_are_tokens() -> None:
    assert columns(b"NA\tx\tnull\n") == {"a": ["NA"], "c": ["null"]}


def test_numbers() -> None:
    tokens = pa.array(["1", "x", None, "-2.5", "inf", "1_0", "1"]).dictionary_encode()
    values, wrong = parse_numbers(tokens)
    assert np.isnan(values[2])
    assert values[[0, 3, 6]].tolist() == [1, -2.5, 1]
    assert wrong.tolist() == [False, True, False, False, True, True, False]


@pytest.mark.parametrize("size", range(1, 30))
@pytest.mark.parametrize("end", [b"\n", b""])
def test_blocks_of_any_size_have_every_line_once(tmp_path: Path, size: int, end: bytes) -> None:
    lines = [b"ab", b"", b"cdefghijklmnop", b"q", b"rs"]
    file = tmp_path / "file"
    file.write_bytes(b"\n".join(lines) + end)
    found = [block.read() for block in split_into_blocks(file, size=size)]
    assert b"".join(found) == file.read_bytes()
    assert all(part.endswith(b"\n") for place, part in enumerate(found) if part and any(found[place + 1 :]))


def test_header_and_mark(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\n")
    names, skipped = read_header(file, ",")
    assert names == ("a", "b")
    assert b"".join(block.read() for block in split_into_blocks(file, skipped, size=3)) == b"1,2\n"
    file.write_bytes(b"\xef\xbb\xbf1,2\n3,4\n")
    assert b"".join(block.read() for block in split_into_blocks(file, size=2)) == b"1,2\n3,4\n"


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "MAX_LINE", 100)
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="has a line of more than 100 bytes"):
        split_into_blocks(file, size=10)[0].read()


def test_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a file"):
        check_files([tmp_path / "none"])
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="is empty"):
        check_files([tmp_path / "empty"])
    (tmp_path / "a.tgz").write_bytes(b"x")
    with pytest.raises(ValueError, match="unpack it first"):
        check_files([tmp_path / "a.tgz"])
