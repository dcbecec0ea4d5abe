"""``run``: breakdown of the time of a whole ``nmt run``, from the start of the command to its end.

All times come from the run's own files: the manifest of the chain and the records of its stages.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from pathlib import Path

from nmt.experiments.benchmarks.harness.command import run_module, set_options
from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.result import Result, Table
from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.trainers.records import StageRecord
from nmt.trainers.store.stage_store import StageStore

FILE = Path(__file__).parents[1] / "complete_journey.yaml"
STEPS = "stages: steps"


def run_once(folder: Path, epochs: int) -> dict[str, float]:
    """Run once in an empty storage, on prepared data; return part → seconds, in order.

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
    began = time.time()
    run_module("nmt.orchestrator.cli", "run", str(FILE), "--json", *set_options(settings))
    ended = time.time()
    manifests, store = ManifestStore(f"{folder}/runs"), StageStore(f"{folder}/runs")
    (manifest,) = [manifests.read(name) for name in manifests.names()]
    records = [record for key in manifest.stage_keys if (record := store.read(key)) is not None]
    kept = [Path(f"{folder}/runs/stages/{record.key}/record.json").stat().st_mtime for record in records]
    return split_time(manifest, records, kept, began, ended)


def split_time(
    manifest: ChainManifest, records: list[StageRecord], kept: list[float], began: float, ended: float
) -> dict[str, float]:
    """Split the time of a finished run into parts; return part → seconds, in order.

    A stage writes its record last, so the time between two records is that of the later stage, saving included. The
    driver's own times are no use here: it learns of a stage with a delay.

    Args:
        manifest: The chain's manifest.
        records: The records of its stages, all trained by this run, in order.
        kept: Times at which the records were written, in seconds since 1970.
        began: Start of the command, in seconds since 1970.
        ended: End of the command, in seconds since 1970.
    """
    closed = manifest.started + manifest.wall_seconds
    kinds = list(dict.fromkeys(kind for record in records for kind in record.seconds))
    stages = {f"stages: {kind}": sum(record.seconds.get(kind, 0.0) for record in records) for kind in kinds}
    pairs = zip(pairwise(kept), records[1:], strict=True)
    handed_over = sum(after - before - record.wall_seconds for (before, after), record in pairs)
    return {
        "start of the command: imports, checks, lookup of the data, MLflow": manifest.started - began,
        "start of Ray, workers and data; first stage saved": kept[0] - records[0].wall_seconds - manifest.started,
        **stages,
        "stages: hand-over and saving of the others": handed_over,
        "after the last stage: stop of Ray, records to MLflow": closed - kept[-1],
        "end of the command": ended - closed,
    }


def run(options: Options) -> Result:
    """Run the benchmark; a first run, which prepares the data, does not count."""
    epochs = 1 if options.quick else 3
    run_once(options.folder / "first", 1)
    found = [run_once(options.folder / str(number), epochs) for number in range(options.rounds or 2)]
    seconds = {part: statistics.median(one[part] for one in found) for part in found[0]}
    whole = sum(seconds.values())
    lines = [(part, value, f"{value / whole:.1%}") for part, value in seconds.items()]
    beyond = whole - seconds[STEPS]
    lines += [("total", whole, "100.0%"), ("total without steps", beyond, f"{beyond / whole:.1%}")]
    return Result(
        "run",
        "breakdown of the time of a whole nmt run",
        (),
        [Table("", ("part", "seconds", "share"), tuple(lines))],
        conditions={"file": FILE.name, "epochs of a stage": epochs, "runs": len(found)},
        notes=("Medians over the runs. Steps include waiting for data and the held-out batches of the multipliers.",),
    )
