"""Bars in the cell of a notebook: drawn into one output, without widgets."""

from __future__ import annotations

import io
import sys
import threading
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from nmt.orchestrator.terminal import live
from nmt.orchestrator.terminal.chain_bars import ChainBars
from nmt.orchestrator.terminal.chain_lines import ChainLines
from nmt.orchestrator.terminal.live import NotebookDrawing, open_drawing
from nmt.orchestrator.terminal.output import TextOutput
from nmt.trainers.reporter import StageFinished, StageStarted
from tests.orchestrator._records import record


class Cell:
    """Stands for ``IPython.display``: what the browser was told to show, in order."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.outputs = 0
        self.drawn_again = threading.Event()

    def display(self, page: str, display_id: bool) -> Cell:
        assert display_id
        self.outputs += 1
        self.shown.append(page)
        return self

    def update(self, page: str) -> None:
        self.shown.append(page)
        self.drawn_again.set()


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    cell = Cell()
    module: Any = ModuleType("IPython.display")
    module.display, module.HTML = cell.display, str
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return cell


def notebook() -> Console:
    return Console(force_jupyter=True, width=110, file=io.StringIO())


def test_a_drawing_is_one_output_that_ends_with_the_last_state(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REDRAW_SECONDS", 0.001)
    state = ["first <b>"]
    drawing = open_drawing(lambda: Text(state[-1], "bold red"), notebook())
    assert isinstance(drawing, NotebookDrawing)
    drawing.start()
    assert cell.drawn_again.wait(60)
    state.append("last")
    drawing.stop()
    assert cell.outputs == 1
    assert "first &lt;b&gt;" in cell.shown[0]
    assert "color: #800000" in cell.shown[0]
    assert "last" in cell.shown[-1]
    assert cell.shown[0].startswith("<pre ")


def test_a_chain_has_bars_in_a_notebook(cell: Cell) -> None:
    bars = TextOutput(notebook()).chain([["pay"], ["amount"]])
    assert isinstance(bars, ChainBars)
    with bars:
        bars.show(StageStarted(0, 1, "k", ("pay",), {"pay": 1.0}, (), 10))
        bars.show(StageFinished(record(0, ["pay"]), reused=False))
    assert "done" in cell.shown[-1]
    assert "amount" in cell.shown[-1]


def test_where_nothing_can_be_redrawn_lines_are_written() -> None:
    assert isinstance(TextOutput(Console(file=io.StringIO())).chain([["pay"]]), ChainLines)
