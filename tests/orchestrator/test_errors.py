"""An error in one line: its first, its last, or its type where it says nothing."""

from __future__ import annotations

import pytest

from nmt.orchestrator.errors import first_line, last_line


@pytest.mark.parametrize(
    ("message", "first", "last"),
    [
        ("one line", "one line", "one line"),
        ("Traceback:\n  File a.py\nKeyError: 'x'\n\n", "Traceback:", "KeyError: 'x'"),
        ("\n  indented\nJob x does not exist\n.", "indented", "Job x does not exist"),
        ("", "ValueError", "ValueError"),
        (" \n ", "ValueError", "ValueError"),
    ],
)
def test_one_line(message: str, first: str, last: str) -> None:
    error = ValueError(message)
    assert first_line(error) == first
    assert last_line(error) == last
