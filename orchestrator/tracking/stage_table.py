"""How a finished stage leaves every task, as columns of a table."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.summary.wording import finite_or_none
from trainers.records import StageRecord


def stage_table(record: StageRecord) -> dict[str, list[object]]:
    """A row per task of the chain: what the curves of a stage that has too many for all of them leave out.

    Args:
        record: The stage.

    Returns:
        Column → values: ``task``; ``role`` (minimised, protected, not yet solved); at the accepted θ* the loss and
        metric on ``valid`` and ``test``; of protected tasks ``difference``, ``allowed`` and ``held`` of the
        validation split, ``lambda`` at the end and ``shadow_price``. A number that is not finite or not known is
        ``None``.
    """
    tasks = list(record.losses["valid"])
    verdicts = {verdict.task: verdict for verdict in record.verdicts if verdict.split == "valid"}
    prices = record.certificate.shadow_prices if record.certificate else record.multipliers

    def column(values: Mapping[str, float | None]) -> list[object]:
        return [finite_or_none(values.get(task)) for task in tasks]

    return {
        "task": list(tasks),
        "role": [
            "minimised" if task in record.level else "protected" if task in record.protected else "not yet solved"
            for task in tasks
        ],
        **{f"{split}_loss": column(record.losses[split]) for split in ("valid", "test")},
        **{f"{split}_metric": column(record.metrics[split]) for split in ("valid", "test")},
        "difference": column({task: verdict.difference for task, verdict in verdicts.items()}),
        "allowed": column({task: verdict.allowed for task, verdict in verdicts.items()}),
        "held": [verdicts[task].held if task in verdicts else None for task in tasks],
        "lambda": column(record.multipliers),
        "shadow_price": column(prices),
    }
