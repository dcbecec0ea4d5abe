"""The drill's own parts: its command line, its model as a worker imports it, and that no wheel holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nmt.experiments.benchmarks.steps.call_log import read_calls
from nmt.trainers.data.schema import SPLITS
from tests.drill.__main__ import main
from tests.drill.counted_model import slow_down
from tests.drill.faults.registry import FAULTS
from tests.drill.site import ROOT, TASKS, Site, Size, write_data
from tests.drill.trial import Trial

PASSES = """
import sys, torch, yaml
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.registry import MODELS, resolve
from nmt.trainers.spec.task import Task

content = yaml.safe_load(open(sys.argv[1]))
tasks = [Task(**task) for task in content["tasks"]]
feed = MemoryFeed(content["data"]["path"], [task.label for task in tasks], content["data"]["batch_size"], 0)
options = dict(content["model"])
model = resolve("model", options.pop("name"), MODELS)(feed.schema, tasks, **options)
batch = next(iter(feed.epoch(0, 0)))
for _ in range(3):
    model.train()(batch)
with torch.no_grad():
    model.train()(batch)
model.eval()(batch)
print(*model(batch))
"""


def test_a_worker_in_another_folder_finds_the_model_and_logs_its_training_passes(tmp_path: Path) -> None:
    site = Site(tmp_path, Size(train_rows=100, vocabulary=200, batch_size=10), tmp_path / "ray")
    write_data(tmp_path / "data", site.size)
    trial = Trial(site, tmp_path / "trial")
    for folder in (trial.folder, site.passes):
        folder.mkdir()
    trial.declare("sqlite:///unused.db")
    slow_down(site.passes, 0.05)
    done = subprocess.run(
        [sys.executable, "-c", PASSES, str(trial.file)],
        cwd=trial.folder,
        env=site.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(TASKS)
    (calls,) = read_calls(site.passes)
    assert (calls.rank, calls.training) == (0, (True, True, True))
    assert all(seconds >= 0.05 for seconds in calls.last_steps(2))
    assert trial.worker(0) == calls


def test_a_call_that_is_half_written_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "1.0.7.15").write_bytes(bytes(9) + b"\x01" * 4)
    (calls,) = read_calls(tmp_path)
    assert (calls.rank, calls.pid, calls.niceness, calls.times, calls.training) == (0, 7, 15, (0.0,), (False,))


def test_rows_are_of_the_size_that_was_asked_for(tmp_path: Path) -> None:
    from nmt.trainers.data.prepared import read_schema

    write_data(tmp_path / "data", Size(train_rows=50, vocabulary=300))
    schema = read_schema(str(tmp_path / "data"))
    assert schema.rows == dict(zip(SPLITS, (50, 10, 10), strict=True))
    assert schema.categorical == {"item": 300}


def test_help_names_the_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "".join(", ".join(FAULTS).split()) in "".join(capsys.readouterr().out.split())


def test_an_unknown_fault_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--only", "driver,worker"])
    assert refused.value.code == 2
    assert f"--only: unknown worker; choose from {', '.join(FAULTS)}" in capsys.readouterr().err


def test_no_wheel_holds_the_drill() -> None:
    program = "import distutils.core; print(*distutils.core.run_setup('setup.py', stop_after='init').packages)"
    done = subprocess.run(
        [sys.executable, "-c", f"import setuptools; {program}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = done.stdout.split()
    assert {"nmt", "nmt.trainers", "nmt.experiments.benchmarks.steps"} <= set(found)
    assert {name.split(".")[0] for name in found} == {"nmt"}
    assert not [name for name in found if "drill" in name or "tests" in name]
