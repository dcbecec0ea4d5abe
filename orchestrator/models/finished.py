"""The model of a finished chain, from the storage."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.summary.live import live_summary
from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.faults import DamagedError
from nmt.trainers.records import StageRecord
from nmt.trainers.store.stage_store import StageStore


def finished_chain(prepared: PreparedExperiment) -> tuple[StageRecord, ...]:
    """Return the records of an experiment's chain.

    Raises:
        RequestError: A stage is not finished.
    """
    store = StageStore(prepared.experiment.storage)
    found = [store.read(key) for key in prepared.spec.stage_keys()]
    records = tuple(record for record in found if record is not None)
    if len(records) < len(found):
        raise RequestError(
            f"the chain of {prepared.experiment.name} is not finished: {len(records)} of {len(found)} stages are in "
            f"{without_credentials(prepared.experiment.storage)}; train it with nmt run, with the same file and --set"
        )
    return records


def finished_model(prepared: PreparedExperiment) -> TrainedModel:
    """Return the model that an experiment's chain ended with.

    Raises:
        RequestError: The chain is not finished, or its model is damaged.
    """
    records = finished_chain(prepared)
    last = records[-1]
    try:
        state = StageStore(prepared.experiment.storage).state(last.key)
        encoder = read_encoder(prepared.folder, prepared.schema)
    except (DamagedError, ValueError) as error:
        raise RequestError(str(error)) from error
    return TrainedModel(
        tasks=prepared.spec.tasks,
        network=prepared.spec.model,
        schema=prepared.schema,
        encoder=encoder,
        state=state,
        precision=prepared.spec.training.precision,
        guarantees=guarantees_of(records),
        origin={
            "experiment": prepared.experiment.name,
            "stage_key": last.key,
            "data_fingerprint": prepared.schema.fingerprint,
            "held": last.held,
            "program": program_version(),
            **({"live": prepared.spec.live.digest} if prepared.spec.live is not None else {}),
        },
    )


def against_live(prepared: PreparedExperiment) -> dict[str, Any] | None:
    """Return how an experiment's model stands to the live one; ``None`` where the chain protected none.

    Raises:
        RequestError: The chain is not finished.
    """
    return live_summary(finished_chain(prepared)[-1])


def guarantees_of(records: tuple[StageRecord, ...]) -> list[dict[str, Any]]:
    """Return how the last stage's model stands to each protected task, JSON-ready."""
    return [
        {key: task[key] for key in ("task", "metric", "deviation", "guarantee")}
        for task in chain_summary(records)["tasks"]
        if task["deviation"] is not None
    ]


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version("no-more-tuning")
    except PackageNotFoundError:
        return "unknown"
