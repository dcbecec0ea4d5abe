"""Like before finish on KuaiRand: No More Tuning, against the like-only model and fixed weights, paired by seed.

::

    python -m experiments.benchmarks.kuairand_priority PATH/kuairand.parquet --seeds 5

Prints a Markdown table: test AUC of both tasks, and the change of like against other rows of the same seed, with its
standard error over seeds. Stages are memoised in ``--storage``, so an interrupted run can be continued.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from experiments.benchmarks.harness.markdown import markdown_table
from experiments.data.kuairand import prepare
from trainers.data.memory import MemoryFeed
from trainers.models.build import build_model
from trainers.records import StageRecord
from trainers.reporter import NullReporter
from trainers.spec.chain_spec import ChainSpec, ModelSpec
from trainers.spec.task import Task
from trainers.spec.training import Training
from trainers.stage.chain import run_chain
from trainers.store.stage_store import StageStore

LIKE = Task("like", "binary_cross_entropy", label="is_like")
FINISH = Task("finish", "binary_cross_entropy", label="finish")
MODEL = ModelSpec("shared_bottom", {"embedding_dim": 8, "bottom_units": [128, 64], "tower_units": [32]})
WEIGHTS = (0.99, 0.9, 0.5)
BATCH = 4096


def train_chain(
    levels: Sequence[Sequence[Task]], training: Training, folder: str, storage: str
) -> tuple[StageRecord, ...]:
    """Train one chain in this process."""
    feed = MemoryFeed(folder, [LIKE.label, FINISH.label], BATCH, training.seed)
    spec = ChainSpec(tuple(tuple(level) for level in levels), MODEL, training, BATCH, feed.schema.fingerprint)
    model = build_model(MODEL, feed.schema, spec.tasks, training.seed)
    return run_chain(spec, model, feed, StageStore(storage), NullReporter())


def prepare_data(path: str, storage: str) -> str:
    """Prepare the log in a folder ``data`` of the storage."""
    cache = Path(storage) / "data"
    cache.mkdir(parents=True, exist_ok=True)
    return str(prepare(path, cache))


def auc_table(rows: dict[str, list[tuple[float, float]]], references: Sequence[str]) -> str:
    """Format mean test AUC over seeds, and the paired difference of like to each reference with its standard error.

    Args:
        rows: Name → (like, finish) of each seed.
        references: Names of the rows that like is compared with.
    """
    lines = []
    for name, found in rows.items():
        like, finish = (statistics.mean(column) for column in zip(*found, strict=True))
        cells = [_difference([row[0] for row in found], [row[0] for row in rows[other]]) for other in references]
        lines.append((name, f"{like:.4f}", f"{finish:.3f}", *cells))
    return markdown_table(("", "like", "finish", *(f"like against {name}" for name in references)), lines)


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    changes = [value - other for value, other in zip(values, others, strict=True)]
    if not any(changes):
        return "–"
    error = statistics.stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else float("nan")
    return f"{statistics.mean(changes):+.4f} ± {error:.4f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="kuairand.parquet")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--storage", default="nmt-runs/kuairand-priority")
    parser.add_argument(
        "--variants", action="store_true", help="also train the settings that the defaults were chosen from"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    storage = str(Path(arguments.storage).absolute())
    folder = prepare_data(arguments.path, storage)
    default = Training(evaluations_per_epoch=6)
    variants = {"NMT, default settings": default}
    if arguments.variants:
        paper = replace(default, violation="absolute", measured_on="train", eta_lambda=0.1, retreats=0, backtracks=0)
        variants["NMT, the paper's update: absolute, on train, rate 0.1, no retreats or backtracks"] = paper
        variants["NMT, the paper's penalty of embeddings, 1e-6"] = replace(default, l2_embedding=1e-6)
        variants["NMT, without retreats"] = replace(default, retreats=0)
    alone, nmt = "like only", "NMT, default settings"
    rows: dict[str, list[tuple[float, float]]] = {alone: []}
    for seed in range(arguments.seeds):
        for name, training in variants.items():
            records = train_chain([[LIKE], [FINISH]], replace(training, seed=seed), folder, storage)
            if name == nmt:
                rows[alone].append(_test_auc(records[0]))
            rows.setdefault(name, []).append(_test_auc(records[-1]))
        for weight in WEIGHTS:
            training = replace(default, method="weighted_sum", weights=(weight, 1 - weight), seed=seed)
            (record,) = train_chain([[LIKE, FINISH]], training, folder, storage)
            rows.setdefault(f"fixed weights {weight:g} : {1 - weight:.2g}", []).append(_test_auc(record))
        print(f"after seed {seed}:\n{auc_table(rows, (alone, nmt))}", file=sys.stderr, flush=True)
    print(auc_table(rows, (alone, nmt)))


def _test_auc(record: StageRecord) -> tuple[float, float]:
    return record.metrics["test"]["like"], record.metrics["test"]["finish"]


if __name__ == "__main__":
    main()
