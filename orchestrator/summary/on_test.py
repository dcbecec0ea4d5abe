"""Says which guarantees of the validation split the test split does not confirm, and what moved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from nmt.orchestrator.summary.wording import MOST_NAMES, format_difference, join_names
from nmt.trainers.records import Verdict

SEE = "METHOD.md, “Guarantees in the metric”"
"""Where the sentences send the reader."""


def sentences_on_test(verdicts: Sequence[Verdict], live: Collection[str] = ()) -> Iterator[str]:
    """Yield a sentence for each way in which protected tasks kept their limits on valid but not on test.

    Args:
        verdicts: Verdicts on a model, on both splits.
        live: Tasks whose limit is the live model's loss; that of the others is their own optimum.
    """
    for than, found in (
        ("at its optimum", [verdict for verdict in verdicts if verdict.task not in live]),
        ("the live model's", [verdict for verdict in verdicts if verdict.task in live]),
    ):
        yield from _sentences(found, than)


def _sentences(verdicts: Sequence[Verdict], than: str) -> Iterator[str]:
    valid = {verdict.task: verdict for verdict in verdicts if verdict.split == "valid" and verdict.kept}
    moved: list[Verdict] = []
    worse: list[Verdict] = []
    ranking: list[Verdict] = []
    for verdict in verdicts:
        if verdict.split != "test" or verdict.task not in valid:
            continue
        metric_held = verdict.metric is None or verdict.metric.held
        if not verdict.held:
            (moved if verdict.metric is not None and metric_held else worse).append(verdict)
        elif not metric_held:
            ranking.append(verdict)
    if moved:
        metrics = _metrics(moved)
        yield (
            f"On test the loss of {_names(moved, 'loss')} is worse than {than} although its {metrics} is not: "
            f"calibration moved, see {SEE}."
        )
    if worse:
        both = any(verdict.metric for verdict in worse)
        which, verb = (f"the loss and the {_metrics(worse)}", "are") if both else ("the loss", "is")
        yield (f"On test {which} of {_names(worse, 'loss')} {verb} worse than {than}: valid promised more, see {SEE}.")
    if ranking:
        yield (
            f"On test the {_metrics(ranking)} of {_names(ranking, 'metric')} is worse than {than} although its loss is "
            f"not, see {SEE}."
        )


def _metrics(verdicts: Sequence[Verdict]) -> str:
    found = {verdict.metric.quantity for verdict in verdicts if verdict.metric is not None}
    return found.pop() if len(found) == 1 else "metric"


def _names(verdicts: Sequence[Verdict], quantity: str) -> str:
    names = []
    for verdict in verdicts:
        found = verdict.metric if quantity == "metric" and verdict.metric is not None else verdict.loss
        difference = format_difference(found.difference, found.standard_error)
        names.append(f"{verdict.task} ({difference})" if len(verdicts) <= MOST_NAMES else verdict.task)
    return join_names(names)
