"""What can be seen to be wrong before Ray starts."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import torch

from orchestrator.errors import RequestError
from orchestrator.experiment import Experiment, Scaling
from trainers.chain_spec import ChainSpec
from trainers.data.schema import SPLITS, Schema
from trainers.models.build import build_model
from trainers.registry import LOSSES, METRICS, check_options, closest, resolve


def check(experiment: Experiment, spec: ChainSpec, schema: Schema, folder: str) -> None:
    """Check tasks, data, model and storage.

    Raises:
        RequestError: With everything that is wrong, one line each.
    """
    problems = [*_splits(schema), *_labels(spec, schema, folder), *_components(spec), *_model(spec, schema)]
    problems += _storage(experiment.storage)
    if problems:
        raise RequestError("\n".join(problems))


def check_local_resources(scaling: Scaling) -> None:
    """Refuse more workers than this machine can hold at once.

    Raises:
        RequestError: With what is asked and what is there.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    check_resources(scaling, {"CPU": float(cpus), "GPU": float(torch.cuda.device_count())}, "this machine")


def check_resources(scaling: Scaling, free: dict[str, float], where: str) -> None:
    """Refuse a worker group that could never be placed.

    Raises:
        RequestError: With what is asked and what is there.
    """
    cpus = scaling.workers * scaling.cpus_per_worker
    if cpus > free.get("CPU", 0.0):
        raise RequestError(
            f"scaling.workers: {scaling.workers} workers of {scaling.cpus_per_worker:g} CPU need {cpus:g} CPUs, "
            f"and {where} has {free.get('CPU', 0.0):g}; use at most "
            f"{int(free.get('CPU', 0.0) // scaling.cpus_per_worker)} workers, or lower scaling.cpus_per_worker"
        )
    if scaling.use_gpu and scaling.workers > free.get("GPU", 0.0):
        raise RequestError(
            f"scaling.use_gpu: {scaling.workers} workers need {scaling.workers} GPUs, and {where} has "
            f"{free.get('GPU', 0.0):g}; set scaling.use_gpu to false or use fewer workers"
        )


def _splits(schema: Schema) -> list[str]:
    empty = [split for split in SPLITS if not schema.examples.get(split)]
    return [
        f"data: split {split!r} is empty; found {dict(schema.examples)} examples, every split needs some"
        for split in empty
    ]


def _labels(spec: ChainSpec, schema: Schema, folder: str) -> list[str]:
    problems = []
    for task in spec.tasks:
        if task.label not in schema.labels:
            problems.append(
                f"tasks: label {task.label!r} of task {task.name!r} is not in the data"
                f"{closest(task.label, schema.labels)}; labels there: {', '.join(schema.labels) or 'none'}"
            )
            continue
        if task.loss == "pairwise_logistic" and schema.query is None:
            problems.append(
                f"tasks: {task.name!r} has a pairwise loss, which compares rows of one list, and the data has no query "
                "column; use a row loss, or prepare the data with a query column"
            )
        for split in SPLITS:
            labelled, low, high = _label_range(Path(folder) / split, task.label)
            if schema.examples.get(split) and labelled == 0:
                problems.append(
                    f"tasks: nobody labels task {task.name!r}: column {task.label!r} is empty in split {split!r}; "
                    "give it labels or leave the task out"
                )
            elif split != "test" and low is not None and low == high:
                problems.append(
                    f"tasks: task {task.name!r} has one class only: column {task.label!r} is {low:g} in every row of "
                    f"split {split!r}; there is nothing to learn from it"
                )
            elif task.loss == "binary_cross_entropy" and low is not None and not 0 <= low <= high <= 1:  # type: ignore[operator]
                problems.append(
                    f"tasks: binary_cross_entropy of task {task.name!r} needs labels in [0, 1]; column {task.label!r} "
                    f"of split {split!r} has {low:g} to {high:g}"
                )
    return problems


def _label_range(folder: Path, column: str) -> tuple[int, float | None, float | None]:
    """Labelled rows, lowest and highest label of a column, from the Parquet statistics: no row is read."""
    labelled = 0
    lows: list[float] = []
    highs: list[float] = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            metadata = pq.ParquetFile(path).metadata
        except (OSError, ValueError) as error:
            raise RequestError(
                f"data: {path} is not a whole Parquet file ({error}); prepare the data set again"
            ) from error
        place = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).name == column)
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(place).statistics
            if statistics is None:
                return 1, None, None  # written by another program; the trainers will see
            labelled += metadata.row_group(group).num_rows - statistics.null_count
            if statistics.has_min_max:
                lows.append(statistics.min)
                highs.append(statistics.max)
    return labelled, min(lows, default=None), max(highs, default=None)


def _components(spec: ChainSpec) -> list[str]:
    problems = []
    for task in spec.tasks:
        try:
            check_options(
                f"tasks: loss {task.loss!r} of task {task.name!r}",
                resolve("loss", task.loss, LOSSES),
                task.options,
                ("output", "label", "batch"),
            )
            if task.metric:
                resolve("metric", task.metric, METRICS)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _model(spec: ChainSpec, schema: Schema) -> list[str]:
    try:
        with torch.device("meta"):
            build_model(spec.model, schema, spec.tasks, seed=0)
    except (ValueError, TypeError) as error:
        return [f"model: {error}"]
    except (RuntimeError, NotImplementedError):
        pass  # a user's own model may compute with its parameters while it is built; the workers will see
    return []


def _storage(storage: str) -> list[str]:
    try:
        filesystem, root = pafs.FileSystem.from_uri(storage)
        filesystem.create_dir(root, recursive=True)
        path = f"{root}/.writable-{uuid.uuid4().hex[:8]}"
        with filesystem.open_output_stream(path) as stream:
            stream.write(b"")
        filesystem.delete_file(path)
    except (OSError, ValueError) as error:
        return [f"storage: {storage} cannot be written to ({error}); give a folder or URI where you may write"]
    return []
