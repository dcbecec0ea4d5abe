"""Where bars are drawn and redrawn: a terminal, or the output of a notebook's cell."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.live import Live

REDRAW_SECONDS = 0.5
"""Time between two drawings in a notebook: each of them is a message to the browser."""

_PAGE = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:normal;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


class Drawing(Protocol):
    """A drawing under way."""

    def start(self) -> Any:
        """Draw, and go on."""

    def stop(self) -> None:
        """Draw for the last time."""


def draws(console: Console) -> bool:
    """Return whether bars can be drawn there, rather than lines written."""
    return console.is_interactive or console.is_jupyter


def open_drawing(renderable: Callable[[], RenderableType], console: Console) -> Drawing:
    """Return a drawing that has not started.

    Args:
        renderable: Returns what is to be seen now; called in a thread.
        console: Where to draw.
    """
    if console.is_jupyter:
        return NotebookDrawing(renderable, console)
    # What is printed to a file must not be drawn into the bars.
    return Live(get_renderable=renderable, console=console, redirect_stdout=sys.stdout.isatty())


class NotebookDrawing:
    """Draws into one output of a notebook's cell, again and again. Rich's own way needs the package ipywidgets.

    Args:
        renderable: Returns what is to be seen now.
        console: The notebook's console.
    """

    def __init__(self, renderable: Callable[[], RenderableType], console: Console) -> None:
        self._renderable = renderable
        self._width = console.width
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nmt-notebook", daemon=True)
        self._handle: Any = None

    def start(self) -> None:
        """Draw, and go on in a thread."""
        from IPython.display import display

        self._handle = display(self._html(), display_id=True)
        self._thread.start()

    def stop(self) -> None:
        """Draw for the last time."""
        self._stopped.set()
        self._thread.join()
        self._handle.update(self._html())

    def _run(self) -> None:
        while not self._stopped.wait(REDRAW_SECONDS):
            self._handle.update(self._html())

    def _html(self) -> Any:
        from IPython.display import HTML

        page = Console(record=True, file=io.StringIO(), width=self._width, force_jupyter=False, force_terminal=True)
        page.print(self._renderable())
        return HTML(page.export_html(inline_styles=True, code_format=_PAGE))
