"""``run``: where the time of a whole ``nmt run`` goes, from the start of the command to its end.

Times are those that the run writes down (the chain's manifest, the stages' records), and those of the model's calls,
which a model of this package notes on the way.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from experiments.benchmarks.options import Options
from experiments.benchmarks.result import Result, Table
from experiments.benchmarks.steps.timed_model import read_calls
from orchestrator.manifests.store import ManifestStore
from trainers.stage_store import StageStore

FILE = Path(__file__).parents[1] / "complete_journey.yaml"
STEPS = "training steps"


def run_once(folder: Path, epochs: int) -> dict[str, float]:
    """One run in an empty storage, on data that are prepared: part → seconds, in the order of time.

    Args:
        folder: An empty folder.
        epochs: Passes over the training data of each stage.
    """
    calls = folder / "calls"
    calls.mkdir(parents=True)
    declared = yaml.safe_load(FILE.read_text())["model"]
    base = declared.pop("name")
    name = "experiments.benchmarks.steps.timed_model:TimedModel"
    settings: dict[str, Any] = {
        "storage": str(folder / "runs"),
        "tracking": f"sqlite:///{folder}/mlflow.db",
        "data.cache": str(folder.parent / "data"),
        "training.max_epochs": epochs,
        "model": {"name": name, "base": base, "options": declared, "calls": str(calls)},
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={_yaml(value)}")]
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(FILE), "--json", *words]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise SystemExit(f"nmt run failed:\n{done.stderr}")
    return itemised(folder, began, ended)


def itemised(folder: Path, began: float, ended: float) -> dict[str, float]:
    """Part → seconds of a finished run; the parts add up to all of it."""
    manifests = ManifestStore(str(folder / "runs"))
    (manifest,) = [manifests.read(name) for name in manifests.names()]
    store = StageStore(str(folder / "runs"))
    records = [record for key in manifest.stage_keys if (record := store.read(key)) is not None]
    starts = [manifest.trained[record.key] for record in records]
    ends = [start + record.wall_seconds for start, record in zip(starts, records, strict=True)]
    calls = read_calls(folder / "calls")[0]
    steps = sum(record.steps for record in records) * calls.median_step()
    within = list(zip(calls.times, calls.training, strict=True))
    # An evaluation is a run of calls without gradient; the call after its last one is of something else.
    evaluations = sum(after - before for (before, one), (after, other) in pairwise(within) if not one and not other)
    stages = sum(record.wall_seconds for record in records)
    return {
        "start of the command, data found, MLflow opened": manifest.started - began,
        "start of Ray and its workers, data loaded": starts[0] - manifest.started,
        STEPS: steps,
        "passes without gradient: evaluations, held-out violations": evaluations,
        "rest of the stages: metrics, acceptance, certificate, checkpoints, keeping": stages - steps - evaluations,
        "hand-over between stages": sum(start - end for start, end in zip(starts[1:], ends[:-1], strict=True)),
        "end of Ray, last records to MLflow": manifest.started + manifest.wall_seconds - ends[-1],
        "end of the command": ended - manifest.started - manifest.wall_seconds,
    }


def run(options: Options) -> Result:
    """Measure; the first run, which prepares the data, is left out."""
    epochs = 1 if options.quick else 3
    if not options.quick:
        run_once(options.folder / "first", 1)
    found = [run_once(options.folder / str(number), epochs) for number in range(options.rounds or 2)]
    seconds = {part: statistics.median(one[part] for one in found) for part in found[0]}
    whole, steps = sum(seconds.values()), seconds[STEPS]
    lines = tuple((part, value, f"{value / whole:.1%}") for part, value in seconds.items())
    return Result(
        "run",
        "where the time of a whole nmt run goes",
        (),
        [
            Table("", ("part", "seconds", "share"), (*lines, ("all", whole, "100.0%"))),
            Table(
                "",
                ("beyond the training steps", "seconds", "share"),
                (("", whole - steps, f"{1 - steps / whole:.1%}"),),
            ),
        ],
        conditions={"file": FILE.name, "epochs of a stage": epochs, "runs": len(found)},
        notes=(
            "Steps: their number times the median time between two training passes of the first worker. What records "
            "do not tell apart stands in one line.",
        ),
    )


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
