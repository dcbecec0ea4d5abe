"""Days of a small log, an experiment file on them, and what ``nmt run`` does, in this process and without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare
from nmt.orchestrator.experiment.sections import flatten
from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.tracking.chain_live import LiveTracking
from nmt.orchestrator.trials.chain_ledger import ChainLedger
from nmt.orchestrator.verbs.run import ChainOutcome
from nmt.trainers.data.open_feed import open_feed
from nmt.trainers.live.build import build_models
from nmt.trainers.reporter import Event
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore

ROOT = Path(__file__).parents[2]

SPLITS = {"train": 900, "valid": 500, "test": 500}


def write_days(folder: Path, days: int, shuffled: str = "") -> str:
    """Rows of the first days; every day has new users. A label may be shuffled in the training rows."""
    rng = np.random.default_rng(3)
    taste = rng.normal(size=(400, 2))
    parts = []
    for day in range(3):
        n = sum(SPLITS.values())
        user, price = rng.integers(0, 30 + 20 * day, n), rng.lognormal(size=n)
        logits = taste[user] + np.stack([1.5 - price, 0.5 * price - 0.5], 1)
        labels = dict(zip(("click", "buy"), (logits + rng.logistic(size=(n, 2)) > 0).T.astype(float), strict=True))
        split = np.repeat(list(SPLITS), list(SPLITS.values()))
        if shuffled:
            labels[shuffled][split == "train"] = rng.permutation(labels[shuffled][split == "train"])
        parts.append(pa.table({"split": split, "user": [f"u{one}" for one in user], "price": price, **labels}))
    folder.mkdir(exist_ok=True)
    path = folder / f"days{days}{shuffled}.parquet"
    pq.write_table(pa.concat_tables(parts[:days]), path)
    return str(path)


def declare(folder: Path, name: str, data: str, /, **others: Any) -> Path:
    """An experiment file; all share storage and tracking store."""
    content: dict[str, Any] = {
        "name": name,
        "data": {
            "source": "experiments.data.table",
            "path": data,
            "batch_size": 64,
            "options": {"categorical": ["user"], "numeric": ["price"], "labels": {"click": 2, "buy": 2}},
        },
        "tasks": [{"name": task, "loss": "binary_cross_entropy"} for task in ("click", "buy")],
        "model": {"name": "shared_bottom", "embedding_dim": 4, "bottom_units": [8], "tower_units": [4]},
        "training": {"max_epochs": 2, "eta_theta": 0.01, "l2_embedding": 0.0},
        "execution": {"certificate_examples": 0},
        "storage": str(folder / "runs"),
        "tracking": f"sqlite:///{folder}/mlflow.db",
        **others,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


class _Tracked:
    """Reports to the tracking store, and counts."""

    def __init__(self, tracking: LiveTracking) -> None:
        self._tracking = tracking
        self.ledger = ChainLedger()

    def report(self, event: Event) -> None:
        if (counted := self.ledger.take(event)) is not None:
            self._tracking.write(counted)


def train(file: Path) -> dict[str, Any]:
    """What ``nmt run FILE --json`` does and says."""
    return chain_summary(run_here(prepare(str(file), [], lambda line: None)).records)


def run_here(prepared: PreparedExperiment, *ignored: Any, stages: int | None = None, **options: Any) -> ChainOutcome:
    """What the verb ``run`` does; or only its first stages."""
    experiment, spec = prepared.experiment, prepared.spec
    labels = [task.label for task in spec.tasks]
    feed = open_feed("memory", prepared.folder, labels, spec.batch_size, spec.training.seed)
    tracking = LiveTracking(experiment.tracking, experiment.name, spec, flatten(experiment), experiment.storage)
    reporter = _Tracked(tracking)
    model, live = build_models(spec, feed.schema, prepared.folder, experiment.storage)
    records = run_chain(spec, model, feed, StageStore(experiment.storage), reporter, live=live, stages=stages)
    tracking.close("FINISHED" if stages is None else "KILLED")
    assert tracking.complete, tracking.failure
    return ChainOutcome(records, reporter.ledger.cost, tracking.run_id, None, None, True, None, prepared)


def nmt(place: Path, *words: str) -> dict[str, Any]:
    """The JSON document of a command in a folder."""
    paths = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    done = subprocess.run(
        [sys.executable, "-m", "nmt.orchestrator.cli", *words, "--json"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
