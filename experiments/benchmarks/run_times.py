"""``run``: where the time of a whole ``nmt run`` goes, from the start of the command to its end.

All times are those that the run itself writes down: the chain's manifest and its stages' records.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from experiments.benchmarks.harness.options import Options
from experiments.benchmarks.harness.result import Result, Table
from orchestrator.tracking.manifests.chain_manifest import ChainManifest
from orchestrator.tracking.manifests.store import ManifestStore
from trainers.records import StageRecord
from trainers.store.stage_store import StageStore

FILE = Path(__file__).parents[1] / "complete_journey.yaml"
STEPS = "stages: steps"


def run_once(folder: Path, epochs: int) -> dict[str, float]:
    """One run in an empty storage, on data that are prepared: part → seconds, in the order of time.

    Args:
        folder: An empty folder.
        epochs: Passes over the training data of each stage.
    """
    settings = {
        "storage": f"{folder}/runs",
        "tracking": f"sqlite:///{folder}/mlflow.db",
        "data.cache": f"{folder.parent}/data",
        "training.max_epochs": epochs,
    }
    folder.mkdir(parents=True)
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(FILE), "--json", *words]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise SystemExit(f"nmt run failed:\n{done.stderr}")
    manifests, store = ManifestStore(f"{folder}/runs"), StageStore(f"{folder}/runs")
    (manifest,) = [manifests.read(name) for name in manifests.names()]
    records = [record for key in manifest.stage_keys if (record := store.read(key)) is not None]
    kept = [Path(f"{folder}/runs/stages/{record.key}/record.json").stat().st_mtime for record in records]
    return itemised(manifest, records, kept, began, ended)


def itemised(
    manifest: ChainManifest, records: list[StageRecord], kept: list[float], began: float, ended: float
) -> dict[str, float]:
    """Part → seconds of a finished run; the parts add up to all of it.

    A stage's record is the last that is kept of it. The time between two of them is the later stage and its keeping;
    what the driver hears of a stage comes too late to tell.

    Args:
        manifest: The chain's manifest.
        records: Its stages, all trained by this run, in order.
        kept: When their records were written, in seconds since 1970.
        began: When the command was started, in seconds since 1970.
        ended: When it had ended.
    """
    closed = manifest.started + manifest.wall_seconds
    kinds = list(dict.fromkeys(kind for record in records for kind in record.seconds))
    stages = {f"stages: {kind}": sum(record.seconds.get(kind, 0.0) for record in records) for kind in kinds}
    pairs = zip(pairwise(kept), records[1:], strict=True)
    handed_over = sum(after - before - record.wall_seconds for (before, after), record in pairs)
    return {
        "the command's start: imports, checks, data found, MLflow opened": manifest.started - began,
        "Ray's start, the workers', and their data's; the first stage kept": kept[0]
        - records[0].wall_seconds
        - manifest.started,
        **stages,
        "stages: the others handed over and kept": handed_over,
        "from the last record on: Ray ended, records in MLflow": closed - kept[-1],
        "the command's end": ended - closed,
    }


def run(options: Options) -> Result:
    """Measure; a first run, which prepares the data, is left out."""
    epochs = 1 if options.quick else 3
    run_once(options.folder / "first", 1)
    found = [run_once(options.folder / str(number), epochs) for number in range(options.rounds or 2)]
    seconds = {part: statistics.median(one[part] for one in found) for part in found[0]}
    whole = sum(seconds.values())
    lines = [(part, value, f"{value / whole:.1%}") for part, value in seconds.items()]
    beyond = whole - seconds[STEPS]
    lines += [("all", whole, "100.0%"), ("all beyond the steps", beyond, f"{beyond / whole:.1%}")]
    return Result(
        "run",
        "where the time of a whole nmt run goes",
        (),
        [Table("", ("part", "seconds", "share"), tuple(lines))],
        conditions={"file": FILE.name, "epochs of a stage": epochs, "runs": len(found)},
        notes=("Medians over the runs. Steps include waiting for data and the multipliers' held-out batches.",),
    )
