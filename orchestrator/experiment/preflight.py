"""Checks that need no Ray: tasks, data, model, method, storage, and the resources of this machine."""

from __future__ import annotations

import inspect
import os
import shutil
import uuid

import pyarrow.fs as pafs
import torch

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.dry_run import dry_run
from nmt.orchestrator.experiment.labels import LISTWISE, read_labels, unmet_requirement
from nmt.orchestrator.experiment.sections import Experiment, Scaling
from nmt.trainers.data.schema import SPLITS, Schema
from nmt.trainers.models.build import build_model
from nmt.trainers.registry import LOSSES, METRICS, check_options, did_you_mean, resolve
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.user_code import describe, place_of


def check(experiment: Experiment, spec: ChainSpec, schema: Schema, folder: str) -> None:
    """Check tasks, data, model and storage; code of the user's own is tried on some batches.

    Raises:
        RequestError: With every problem found, one line each.
    """
    problems = [
        *_splits(schema),
        *_labels(spec, schema, folder),
        *_components(spec),
        *_model(spec, schema),
        *_method(spec),
    ]
    problems += _storage(experiment.storage)
    if not problems and (torch.cuda.is_available() or not experiment.scaling.use_gpu):
        problems += dry_run(spec, schema, folder, experiment.scaling.max_workers)
    if problems:
        raise RequestError("\n".join(problems))


def check_local_resources(scaling: Scaling, key: str = "scaling.workers") -> None:
    """Refuse more workers than this machine can hold at once.

    Args:
        scaling: Workers requested.
        key: Key of the number of workers in the experiment file.

    Raises:
        RequestError: The machine has too few CPUs or GPUs.
    """
    free = {"CPU": float(available_cpus()), "GPU": float(torch.cuda.device_count())}
    check_resources(scaling, free, "this machine", key)


def available_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_local_compiler(experiment: Experiment) -> None:
    """Refuse compiled training steps where this machine has no C++ compiler.

    Raises:
        RequestError: There is no compiler.
    """
    names = [os.environ.get("CXX", ""), "g++", "clang++"]  # where torch looks
    if experiment.execution.compile and not experiment.scaling.use_gpu and not any(map(shutil.which, names)):
        raise RequestError(
            "execution.compile: on CPUs torch.compile writes C++, and this machine has no compiler (looked for $CXX, "
            "g++ and clang++); install one, or leave execution.compile out"
        )


def check_resources(scaling: Scaling, free: dict[str, float], where: str, key: str = "scaling.workers") -> None:
    """Refuse a worker group that could never be placed.

    Args:
        scaling: Workers requested.
        free: Resources available.
        where: Name of the place in messages.
        key: Key of the number of workers in the experiment file.

    Raises:
        RequestError: There are too few CPUs or GPUs.
    """
    workers = scaling.min_workers
    cpus = workers * scaling.cpus_per_worker
    if cpus > free.get("CPU", 0.0):
        raise RequestError(
            f"{key}: {workers} workers of {scaling.cpus_per_worker:g} CPU need {cpus:g} CPUs, "
            f"and {where} has {free.get('CPU', 0.0):g}; use at most "
            f"{int(free.get('CPU', 0.0) // scaling.cpus_per_worker)} workers, or lower scaling.cpus_per_worker"
        )
    if scaling.use_gpu and workers > free.get("GPU", 0.0):
        raise RequestError(
            f"scaling.use_gpu: {workers} workers need {workers} GPUs, and {where} has "
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
                f"{did_you_mean(task.label, schema.labels)}; its labels: {', '.join(schema.labels) or 'none'}"
            )
            continue
        of_lists = [name for name in (task.loss, task.metric) if name in LISTWISE]
        if of_lists and schema.query is None:
            problems.append(
                f"tasks: {of_lists[0]} of task {task.name!r} compares rows of one list, and the data has no query "
                "column; choose another, or prepare the data with a query column"
            )
        for split in SPLITS:
            labels = read_labels(folder, split, task.label, schema.labels[task.label])
            if schema.examples.get(split) and labels.count == 0:
                problems.append(
                    f"tasks: task {task.name!r} has no labels: column {task.label!r} is empty in split {split!r}; "
                    "add labels or remove the task"
                )
            elif (need := unmet_requirement(task.loss, labels)) is not None:
                problems.append(
                    f"tasks: {task.loss} of task {task.name!r} {need}; column {task.label!r} of split {split!r} has "
                    f"{labels.range}"
                )
                break
    return problems


def _components(spec: ChainSpec) -> list[str]:
    problems = []
    for task in spec.tasks:
        place = f"tasks: loss {task.loss!r} of task {task.name!r}"
        try:
            loss = resolve("loss", task.loss, LOSSES)
            check_options(place, loss, task.options, ("output", "label", "batch"))
            inspect.signature(loss).bind(None, None, None, **task.options)
            if task.metric:
                resolve("metric", task.metric, METRICS)
        except ValueError as error:
            problems.append(str(error))
        except TypeError as error:
            problems.append(f"{place} cannot be called with (output, label, batch) and its options: {error}")
    return problems


def _method(spec: ChainSpec) -> list[str]:
    try:
        spec.check()
    except (ValueError, ImportError) as error:
        return [f"training: {error}"]
    return []


def _model(spec: ChainSpec, schema: Schema) -> list[str]:
    try:
        with torch.device("meta"):
            build_model(spec.model, schema, spec.tasks, seed=0)
    except (ValueError, TypeError) as error:
        return [f"model: {error}"]
    except (RuntimeError, NotImplementedError):
        pass  # a user's own model may compute with its parameters while it is built; the dry run builds it for real
    except Exception as error:  # a user's code can raise anything
        place = place_of(error)
        return [f"model {spec.model.name}: {describe(error)}" + (f" ({place})" if place else "")]
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
