"""README's commands for the demo and for MLflow, word by word, on a small version of the shipped experiment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests._checkout import Checkout, checkout
from tests._documents import the_command
from tests.orchestrator._commands import in_this_process, read

FILE = Path(__file__).parents[3] / "experiments" / "complete_journey.yaml"


def shrink(file: Path) -> None:
    """Fewer visits, one epoch."""
    content = yaml.safe_load(file.read_text())
    content["data"]["options"] = {"visits": 600}
    content["training"] = {"max_epochs": 1}
    file.write_text(yaml.safe_dump(content))


Demo = tuple[Checkout, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """A copy of the repository after ``make demo``."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    copy = checkout(tmp_path_factory.mktemp("demo") / "no-more-tuning")
    shrink(copy.folder / FILE.relative_to(FILE.parents[1]))
    return copy, copy.bash(the_command("make demo"))


@pytest.mark.ray
@pytest.mark.slow
def test_make_demo(demo: Demo) -> None:
    copy, done = demo
    assert done.returncode == 0, done.stderr
    # What the README says that it runs, and nothing that installs.
    run = the_command("nmt run experiments/complete_journey.yaml")
    assert done.stdout.splitlines()[:2] == [f"demo: {run}", f".venv/bin/{run}"]
    assert re.findall(r"^(\w+) +([123]) ", done.stdout, re.MULTILINE) == [
        ("pay", "1"),
        ("amount", "2"),
        ("relevance", "3"),
    ]
    assert "Every guarantee held: pay and amount are within their limits" in done.stdout
    assert "4 stages trained, 0 reused" in done.stdout
    assert "preparing data from experiments.data.complete_journey" in done.stderr
    for stage in ("0/3 joint", "3/3 relevance"):
        assert f"stage {stage}: done" in done.stderr
    assert "\x1b[" not in done.stdout + done.stderr  # no terminal, no escapes
    assert {"nmt-runs", "mlflow.db"} <= {path.name for path in copy.folder.iterdir()}


@pytest.mark.drill
@pytest.mark.ray
@pytest.mark.slow
def test_mlflow_shows_the_demo(demo: Demo, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 5000))
        except OSError:
            pytest.skip("port 5000, where the page is shown, is taken here")
    copy, _ = demo
    command = ["bash", "-c", the_command(".venv/bin/nmt ui")]
    with (tmp_path / "said.txt").open("wb") as said:
        server = subprocess.Popen(
            command, cwd=copy.folder, env=copy.environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        while not (page := shown("http://127.0.0.1:5000/")):
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.2)
            assert server.returncode is None, (tmp_path / "said.txt").read_text()
        assert "<title>MLflow</title>" in page
        found = shown("http://127.0.0.1:5000/api/2.0/mlflow/experiments/get-by-name?experiment_name=complete-journey")
        assert json.loads(found)["experiment"]["name"] == "complete-journey"
    finally:
        end(server)


def shown(address: str) -> str:
    """Return the page at an address; empty while nothing answers."""
    with suppress(OSError), urllib.request.urlopen(address, timeout=30) as answer:
        return str(answer.read().decode())
    return ""


def end(server: subprocess.Popen[bytes]) -> None:
    """Interrupt a server, and kill what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        server.wait(60)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_the_plan_of_the_shipped_experiment_trains_nothing(tmp_path: Path) -> None:
    plan = read(in_this_process(["plan", str(FILE), "--json", "--set", "data.options.visits=600"], tmp_path))
    assert [stage["protected"] for stage in plan["stages"]] == [[], [], ["pay"], ["pay", "amount"]]
    assert [stage["stage"] for stage in plan["stages"]] == [0, 1, 2, 3]
    assert plan["grid_trials"] == 5**3
    assert plan["grid_max_samples"] == 125 * plan["stages"][0]["max_samples"]
    assert plan["max_samples"] == 4 * 20 * plan["examples"]["train"]
    sweep = plan["sweep"]
    assert (sweep["trials"], sweep["stages"], sweep["stages_reused"]) == (9, 3 + 3 + 9 + 9, 6 + 6)
    assert not (tmp_path / "nmt-runs" / "stages").exists()
    assert not (tmp_path / "mlflow.db").exists()
