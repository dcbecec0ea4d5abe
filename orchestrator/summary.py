"""A finished chain in a few words: what every task lost or gained, and whether its guarantee held."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from orchestrator.worst_tasks import what_is_shown, worst_tasks
from trainers.acceptance import Verdict
from trainers.certificate import Certificate
from trainers.records import StageRecord

NOTHING = "–"
"""What stands in a cell without a value."""

_SHARES = ("accuracy", "auc", "auroc", "f1", "hit_rate", "ndcg", "precision", "recall")
_MOST_NAMES = 3
_FIGURES: dict[str, Any] = {"justify": "right", "no_wrap": True}
_UNBOUNDED = 10_000


def number(value: float | None) -> float:
    """A number of a record that may have been read from JSON, where ``null`` stands for what is not finite."""
    return math.nan if value is None else float(value)


def named(names: Sequence[str]) -> str:
    """``pay``, ``pay and amount``, ``pay, amount and 61 more``."""
    shown = (
        list(names)
        if len(names) <= _MOST_NAMES
        else [*names[: _MOST_NAMES - 1], f"{len(names) - _MOST_NAMES + 1} more"]
    )
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def level_name(level: Sequence[str]) -> str:
    """A stage by what it minimises: ``pay``, ``like, share``, ``like +30``."""
    return ", ".join(level) if len(level) <= 2 else f"{level[0]} +{len(level) - 1}"


def signed(value: float | None, decimals: int = 4) -> str:
    """``+0.0003``; no sign where all shown digits are 0, and a dash where there is no finite number."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def unsigned(*values: float | None, arrow: str = " → ") -> str:
    """Losses or metrics side by side, all with the decimals that the largest needs: ``0.519 → 0.521``."""
    known = [number(value) for value in values]
    scale = max((abs(value) for value in known if math.isfinite(value)), default=0.0)
    decimals = 3 if scale >= 0.1 or scale == 0 else min(9, 2 - math.floor(math.log10(scale)))
    decimals = decimals if scale < 10 else max(0, 3 - math.floor(math.log10(scale)))
    return arrow.join(f"{value:.{decimals}f}" if math.isfinite(value) else NOTHING for value in known)


def against_limit(verdict: Verdict) -> str:
    """The comparison that the rule made: ``+0.0005 ≤ 0.0012``, with decimals enough to see which one is larger."""
    difference, allowed = number(verdict.difference), number(verdict.allowed)
    if not (math.isfinite(difference) and math.isfinite(allowed)):
        return "not finite"
    decimals = _decimals(difference, allowed)
    while not verdict.held and decimals < 9 and f"{difference:.{decimals}f}" == f"{allowed:.{decimals}f}":
        decimals += 1
    return f"{signed(difference, decimals)} {'≤' if verdict.held else '>'} {allowed:.{decimals}f}"


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The validation verdict that is closest to its limit or furthest beyond it, if anything is protected."""
    return max((verdict for verdict in verdicts if verdict.split == "valid"), key=share_used, default=None)


def share_used(verdict: Verdict) -> float:
    """Difference over allowed difference: 1 at the limit, above it when broken, negative when better than the optimum.

    Infinite where nothing is allowed and something was lost, or where a number is not finite.
    """
    difference, allowed = number(verdict.difference), number(verdict.allowed)
    if not (math.isfinite(difference) and math.isfinite(allowed)):
        return math.inf
    if allowed > 0:
        return difference / allowed
    return 0.0 if difference == 0 else math.copysign(math.inf, difference)


def chain_summary(records: Sequence[StageRecord]) -> dict[str, Any]:
    """The content of :func:`chain_table`, JSON-ready; what is unknown or not finite is ``None``.

    Args:
        records: Records of a chain's stages, in order.

    Returns:
        ``tasks`` by priority, ``stages`` in order (both count stages from 1), ``held`` and ``sentence``. A
        stage's ``certificate`` is ``None`` where its record is older than certificates. Of a task:

        * ``optimum``: mean loss at the accepted θ* of the stage that solved it, on ``train`` (L* itself), ``valid`` and
          ``test``;
        * ``test_loss``: at the end of the chain;
        * ``difference``: test loss at the end minus the one at θ*, paired, with its ``standard_error``; ``None`` for
          a task that no stage protects;
        * ``test_metric``: at the end of stage 1 and of the chain, ``change``, and ``points`` (a hundredth of a share);
        * ``multiplier``: λ at the end of the last stage;
        * ``guarantee``: ``status`` is ``held``, ``broken`` or ``not protected``; with ``difference`` and ``allowed``
          of the validation split.

    Raises:
        ValueError: There is no record.
    """
    if not records:
        raise ValueError("a chain has at least one stage, found no record")
    return {
        "held": records[-1].held,
        "sentence": " ".join([_sentence(records), *_out_of_reach(records), *_balance(records)]),
        "tasks": [_task(task, record, records) for record in records for task in record.level],
        "stages": [_stage(record) for record in records],
    }


def chain_table(records: Sequence[StageRecord]) -> Table:
    """One row per task, by priority: one line where there is room for it (about 100 columns), otherwise two.

    Of more than :data:`~orchestrator.worst_tasks.MOST_TASKS` tasks those are shown that tell most.

    Args:
        records: Records of a chain's stages, in order.

    Raises:
        ValueError: There is no record.
    """
    summary = chain_summary(records)
    tasks: Sequence[dict[str, Any]] = summary["tasks"]
    metrics = {task["metric"] for task in tasks if task["metric"]}
    only_shares = all(_is_share(name) for name in metrics)
    metric = metrics.pop() if len(metrics) == 1 else None
    caption = Text("\n" + " ".join(filter(None, (what_is_shown(tasks), summary["sentence"]))))
    folded = _blank_table(Table(), caption)
    folded.add_column("task", overflow="fold")
    folded.add_column("stage", **_FIGURES)
    folded.add_column("loss alone → end\nchange ± SE", **_FIGURES)
    folded.add_column(f"{metric or 'metric'}\nstage 1 → end", **_FIGURES)
    folded.add_column("λ", **_FIGURES)
    folded.add_column("guarantee\non valid", no_wrap=True)
    table = _blank_table(_ChainTable(folded), caption)
    table.add_column("task", no_wrap=True)
    table.add_column("stage", **_FIGURES)
    table.add_column("loss\nalone → end", **_FIGURES)
    table.add_column("change of\nloss ± SE", **_FIGURES)
    table.add_column(f"{metric or 'metric'}\nstage 1 → end", **_FIGURES)
    table.add_column("points" if only_shares else "change", **_FIGURES)
    table.add_column("λ", **_FIGURES)
    table.add_column("guarantee\non valid", no_wrap=True)
    for task in worst_tasks(tasks):
        name, stage = Text(task["task"]), str(task["stage"])
        loss, change = unsigned(task["optimum"]["test"], task["test_loss"]), _change(task)
        value, points = _metric(task, with_name=metric is None), _points(task, with_unit=not only_shares)
        multiplier = NOTHING if task["multiplier"] is None else multiplier_text(task["multiplier"])
        table.add_row(name, stage, loss, change, value, points, multiplier, _guarantee(task, " "))
        losses, values = f"{loss}\n{change}", f"{value}\n{_points(task, with_unit=True)}"
        folded.add_row(name, stage, losses, values, multiplier, _guarantee(task, "\n"))
    return table


class _ChainTable(Table):
    """A table that gives way to one with fewer and higher rows where it would have to cut numbers off."""

    def __init__(self, folded: Table) -> None:
        super().__init__()
        self._folded = folded

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        needed = super().__rich_measure__(console, options.update(max_width=_UNBOUNDED)).maximum
        if needed > options.max_width:
            yield from self._folded.__rich_console__(console, options)
        else:
            yield from super().__rich_console__(console, options)


_Some = TypeVar("_Some", bound=Table)


def _blank_table(table: _Some, caption: Text) -> _Some:
    table.title = "At the end of the chain, on the test split"
    table.title_justify = table.caption_justify = "left"
    table.title_style, table.caption_style, table.header_style = "bold", "", "dim"
    table.caption = caption
    table.box = box.SIMPLE_HEAD
    table.show_edge = table.pad_edge = False
    table.collapse_padding = True
    return table


def multiplier_text(value: float | None) -> str:
    """λ with about three digits: ``0.05``, ``1.02``, ``27.4``, ``138``."""
    value = number(value)
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def _task(task: str, solved: StageRecord, records: Sequence[StageRecord]) -> dict[str, Any]:
    first, last = records[0], records[-1]
    optimum = next((optimum for optimum in solved.optima if optimum.task == task), None)
    test, valid = last.verdict(task, "test"), last.verdict(task, "valid")
    metric = last.metric_names.get(task) or ""
    at_first, at_end = _finite(_at(first.metrics, task)), _finite(_at(last.metrics, task))
    change = None if at_first is None or at_end is None else at_end - at_first
    return {
        "task": task,
        "stage": solved.stage + 1,
        "stage_key": solved.key,
        "metric": metric.rpartition(":")[2] or None,
        "optimum": {
            "train": _finite(optimum.train if optimum else None),
            "valid": _finite(optimum.valid if optimum else None),
            "test": _finite(_at(solved.losses, task)),
        },
        "test_loss": _finite(_at(last.losses, task)),
        "difference": None
        if test is None
        else {"value": _finite(test.difference), "standard_error": _finite(test.standard_error)},
        "test_metric": {
            "stage_1": at_first,
            "end": at_end,
            "change": change,
            "points": 100 * change if change is not None and _is_share(metric) else None,
        },
        "multiplier": _finite(last.multipliers.get(task)),
        "guarantee": {"status": "not protected", "difference": None, "allowed": None, "text": None}
        if valid is None
        else {
            "status": "held" if valid.held else "broken",
            "difference": _finite(valid.difference),
            "allowed": _finite(valid.allowed),
            "text": against_limit(valid),
        },
    }


def _stage(record: StageRecord) -> dict[str, Any]:
    return {
        "stage": record.stage + 1,
        "stage_key": record.key,
        "level": list(record.level),
        "protected": list(record.protected),
        "held": record.held,
        "gained": record.gained,
        "accepted_step": record.accepted_step,
        "steps": record.steps,
        "samples": record.samples,
        "ended_by": record.ended_by,
        "wall_seconds": _finite(record.wall_seconds),
        "seconds": {name: _finite(value) for name, value in record.seconds.items()},
        "certificate": None if record.certificate is None else _certificate(record.certificate),
    }


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "stationarity": _finite(certificate.stationarity),
        "gradient_norm": _finite(certificate.gradient_norm),
        "feasibility": {task: _finite(value) for task, value in certificate.feasibility.items()},
        "slackness": {task: _finite(value) for task, value in certificate.slackness.items()},
        "shadow_prices": {task: _finite(value) for task, value in certificate.shadow_prices.items()},
        "not_attainable": list(certificate.not_attainable),
        "examples": certificate.examples,
        "grouped": certificate.grouped,
    }


def _sentence(records: Sequence[StageRecord]) -> str:
    verdicts = [verdict for verdict in records[-1].verdicts if verdict.split == "valid"]
    broken = [verdict for verdict in verdicts if not verdict.held]
    if broken:
        names = named([f"{verdict.task} ({against_limit(verdict)} allowed)" for verdict in broken])
        guarantee = f"Not every guarantee held: beyond the limit on the validation split {_is(broken)} {names}."
    elif verdicts:
        names = named([verdict.task for verdict in verdicts])
        limit = "its limit" if len(verdicts) == 1 else "their limits"
        guarantee = f"Every guarantee held: {names} {_is(verdicts)} within {limit} on the validation split."
    else:
        guarantee = "Nothing was protected: the chain has one stage."
    idle = [f"{record.stage + 1} ({level_name(record.level)})" for record in records if not record.gained]
    if not idle:
        return f"{guarantee} Every stage gained."
    return f"{guarantee} {'Stage' if len(idle) == 1 else 'Stages'} {named(idle)} gained nothing."


def _out_of_reach(records: Sequence[StageRecord]) -> Iterator[str]:
    """What the certificates report as not attainable, a sentence per stage."""
    found = [record for record in records if record.certificate is not None and record.certificate.not_attainable]
    if len(found) > _MOST_NAMES:
        stages = named([f"{record.stage + 1} ({level_name(record.level)})" for record in found])
        yield (
            f"In stages {stages} tasks cannot be held together with what the stage minimises: λ kept rising while "
            "their violations did not shrink; allow tolerances."
        )
        return
    for record in found:
        tasks = record.certificate.not_attainable if record.certificate else ()
        if tasks:
            until = "Beyond the accepted model, " if record.gained else ""
            whose = "its violation" if len(tasks) == 1 else "their violations"
            yield (
                f"{until}{named(tasks)} cannot be held together with {level_name(record.level)}: λ kept rising while "
                f"{whose} did not shrink; allow a tolerance."
            )


def _balance(records: Sequence[StageRecord]) -> Iterator[str]:
    """Stationarity of the stages in which a constraint pulls; in the others it says nothing."""
    found = {
        level_name(record.level): record.certificate.stationarity
        for record in records
        if record.certificate is not None
        and math.isfinite(record.certificate.stationarity)
        and any(price > 0 for price in record.certificate.shadow_prices.values())
    }
    if not found:
        return
    if len(found) <= _MOST_NAMES:
        values = named([f"{value:.2f} ({level})" for level, value in found.items()])
    else:
        largest = max(found, key=lambda level: found[level])
        values = f"{min(found.values()):.2f} to {found[largest]:.2f} ({largest})"
    yield f"Stationarity, 0 where objective and constraints balance, 1 at most: {values}."


def _is(many: Sequence[object]) -> str:
    return "is" if len(many) == 1 else "are"


def _change(row: dict[str, Any]) -> str:
    difference = row["difference"]
    if difference is None:
        return NOTHING
    decimals = _decimals(number(difference["value"]), number(difference["standard_error"]))
    return f"{signed(difference['value'], decimals)} ±{signed(difference['standard_error'], decimals).lstrip('+')}"


def _metric(row: dict[str, Any], with_name: bool) -> str:
    if row["metric"] is None:
        return NOTHING
    values = unsigned(row["test_metric"]["stage_1"], row["test_metric"]["end"])
    return f"{row['metric']} {values}" if with_name else values


def _points(row: dict[str, Any], *, with_unit: bool) -> str:
    points = row["test_metric"]["points"]
    if points is None:
        return signed(row["test_metric"]["change"])
    return f"{signed(points, 1)} pt" if with_unit else signed(points, 1)


def _guarantee(row: dict[str, Any], separator: str) -> Text:
    guarantee = row["guarantee"]
    status = guarantee["status"]
    style = {"held": "green", "broken": "bold red", "not protected": "dim"}[status]
    text = Text(status, style)
    return text if guarantee["text"] is None else text.append(f"{separator}{guarantee['text']}", "default")


def _is_share(metric: str) -> bool:
    return any(word in metric.rpartition(":")[2].lower() for word in _SHARES)


def _at(by_split: Any, task: str) -> float | None:
    value = by_split.get("test", {}).get(task)
    return None if value is None else float(value)


def _finite(value: float | None) -> float | None:
    value = number(value)
    return value if math.isfinite(value) else None


def _decimals(*values: float) -> int:
    """Four decimals; more for two digits of what is below 0.0005, fewer for what is large."""
    scale = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if scale == 0:
        return 4
    if scale >= 1:
        return max(0, 4 - math.floor(math.log10(scale)))
    return min(9, max(4, 1 - math.floor(math.log10(2 * scale))))
