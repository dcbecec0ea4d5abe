"""The notebook: from a data frame to served predictions, executed cell by cell as a kernel would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "experiments" / "quickstart.ipynb"
LINES = 15

PROGRAM = """
import json, sys
names = {}
try:
    for cell in json.load(open(sys.argv[1])):
        exec(compile(cell, "cell", "exec"), names)
finally:
    if "server" in names:
        names["server"].terminate()
        names["server"].wait()
print(json.dumps({"here": names["predictions"].to_dict("records"), "served": names["served"]["predictions"]}))
"""


def cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_from_the_data_frame_on_it_has_at_most_fifteen_lines() -> None:
    """The frame is the reader's own, and stopping the server comes after the predictions."""
    lines = [line for cell in cells() if not cell["metadata"].get("tags") for line in cell["source"] if line.strip()]
    assert 0 < len(lines) <= LINES


def test_it_is_kept_without_outputs() -> None:
    assert [cell["outputs"] for cell in cells()] == [[] for _ in cells()]


@pytest.mark.ray
@pytest.mark.slow
def test_the_server_answers_what_the_notebook_predicts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    sources = ["".join(cell["source"]) for cell in cells()]
    assert sum(source.count("5001") for source in sources) == 2
    (tmp_path / "cells.json").write_text(json.dumps([source.replace("5001", port) for source in sources]))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "cells.json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["here"]) == 5
    for here, served in zip(found["here"], found["served"], strict=True):
        assert served == pytest.approx(here, abs=1e-6)
        assert all(0 < value < 1 for value in here.values())
