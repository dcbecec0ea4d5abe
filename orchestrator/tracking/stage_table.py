"""The table of a finished stage: one row per task."""

from __future__ import annotations

from collections.abc import Mapping

from nmt.orchestrator.summary.wording import finite_or_none
from nmt.trainers.records import StageRecord


def stage_table(record: StageRecord) -> dict[str, list[object]]:
    """Return the table of a stage: one row per task of the chain, also where the stage has too many tasks for curves.

    Args:
        record: The stage.

    Returns:
        Column → values: ``task``; ``role`` (minimised, protected, in the mix, not yet solved) and ``weight`` in the
        objective; at the accepted θ* the loss and metric on ``valid`` and ``test``; of protected tasks ``held``, on
        both splits the deviation of the loss and of the metric with its standard error, ``allowed`` in the loss on
        ``valid``, final ``lambda`` and ``shadow_price``. A number that is not finite or not known is ``None``.
    """
    tasks = list(record.losses["valid"])
    verdicts = {verdict.task: verdict for verdict in record.verdicts if verdict.split == "valid"}
    prices = record.certificate.shadow_prices if record.certificate else record.multipliers

    def column(values: Mapping[str, float | None]) -> list[object]:
        return [finite_or_none(values.get(task)) for task in tasks]

    return {
        "task": list(tasks),
        "role": [_role(task, record) for task in tasks],
        "weight": column(record.objective),
        **{f"{split}_loss": column(record.losses[split]) for split in ("valid", "test")},
        **{f"{split}_metric": column(record.metrics[split]) for split in ("valid", "test")},
        **{
            f"{split}_{quantity}_deviation{suffix}": column(_deviations(record, split, quantity, suffix))
            for split in ("valid", "test")
            for quantity in ("loss", "metric")
            for suffix in ("", "_se")
        },
        "allowed": column({task: verdict.allowed for task, verdict in verdicts.items()}),
        "held": [verdicts[task].kept if task in verdicts else None for task in tasks],
        "lambda": column(record.multipliers),
        "shadow_price": column(prices),
    }


def _role(task: str, record: StageRecord) -> str:
    if task in record.protected:
        return "protected"
    if task in (record.level or record.objective):
        return "minimised"
    return "in the mix" if task in record.objective else "not yet solved"


def _deviations(record: StageRecord, split: str, quantity: str, suffix: str) -> dict[str, float | None]:
    found = {
        verdict.task: verdict.loss if quantity == "loss" else verdict.metric
        for verdict in record.verdicts
        if verdict.split == split
    }
    return {
        task: deviation.standard_error if suffix else deviation.difference
        for task, deviation in found.items()
        if deviation is not None
    }
