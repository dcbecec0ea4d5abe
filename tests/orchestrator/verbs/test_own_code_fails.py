"""An error of a user's own code while workers train: said with file and line, and not tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator._ranker import declare, write_days

from .._commands import Project, environment

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.drill]

NET = """
from pathlib import Path
from nmt.trainers.models.shared_bottom import SharedBottom

class Net(SharedBottom):
    steps = 0

    def forward(self, batch):
        Net.steps += self.training
        if Net.steps > 30:
            with (Path(__file__).parent / "failures").open("a") as file:
                file.write("x")
            return 1 / (Net.steps - Net.steps)
        return super().forward(batch)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_fails_once(tmp_path: Path, database: Path, workers: int) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    model: dict[str, Any] = {"name": "net:Net", "embedding_dim": 4, "bottom_units": [8], "tower_units": [4]}
    declare(
        tmp_path,
        "experiment",
        write_days(tmp_path / "days", 1),
        model=model,
        training={"max_epochs": 6},
        scaling={"workers": workers, "cpus_per_worker": 0.5},
    )
    ray_folder = tmp_path.parent / "r"
    project = Project(tmp_path, environment(ray_folder))
    command = project.start("run")
    command.wait()
    assert command.process.returncode == 1
    assert "ZeroDivisionError: division by zero in" in command.said
    assert f"{tmp_path}/net.py, line 13" in command.said
    assert len((tmp_path / "failures").read_text()) <= workers
    assert not list((tmp_path / "runs" / "faults").glob("*"))
