"""The page of a comparison: one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from orchestrator.comparison.cost_figure import cost_against_tasks
from orchestrator.comparison.front_figure import trade_off_front
from orchestrator.comparison.headline import chosen_model, headline, models_of, row_of, star_standing
from orchestrator.comparison.numerals import (
    amount_text,
    count_text,
    extrapolation_text,
    metric_texts,
    rate_text,
    seconds_text,
    stages_text,
    times_text,
    trials_text,
)
from orchestrator.comparison.results import ComparedModel, ComparedTask, Comparison
from orchestrator.comparison.style_sheet import style_sheet
from orchestrator.comparison.table import MOST_COLUMNS, common_metric, guarantee_text, lines, shown_tasks, task_header
from orchestrator.figures.multipliers import multiplier_trajectory
from orchestrator.figures.svg import inline_svg
from orchestrator.summary.wording import NOTHING
from orchestrator.trials.trial import Source

_SOURCES: dict[Source, str] = {"sweep": "NMT's sweep", "grid": "grid", "baseline": "baseline", "method": "method"}


_MOST_BESIDE = 4
"""Tasks for which there is room beside the costs."""


def page(comparison: Comparison) -> str:
    """The comparison as a complete HTML document, with its pictures and its style inside and without any script."""
    sections = [
        _headline(comparison),
        _methods(comparison),
        _front(comparison),
        _costs(comparison),
        _multipliers(comparison),
        _reading(comparison),
        _known(comparison),
        _every_task(comparison),
        _every_model(comparison),
    ]
    name = escape(comparison.name)
    body = "\n".join(section for section in sections if section)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}: NMT against the grid</title>
<style>
{style_sheet()}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _headline(comparison: Comparison) -> str:
    said = headline(comparison)
    common = common_metric(comparison.tasks)
    tasks = [
        escape(task.name if common else f"{task.name} ({task_header(task)})")
        for task in comparison.tasks[:MOST_COLUMNS]
    ]
    more = len(comparison.tasks) - len(tasks)
    priority = " › ".join([*tasks, *([f"{more} more"] if more else [])])
    about = [escape(comparison.data)] if comparison.data else []
    if common:
        priority += f" ({escape(common)})"
    about.append(f"{len(comparison.tasks)} task{'' if len(comparison.tasks) == 1 else 's'} by priority: {priority}")
    return f"""<header>
<p class="quiet">No More Tuning: NMT against the grid</p>
<h1>{escape(comparison.name)}</h1>
<p class="lead">{escape(said.text)}</p>
{_figures(comparison)}
<p class="quiet">{"<br>".join(about)}</p>
</header>"""


def _figures(comparison: Comparison) -> str:
    """The three findings as large words: cost, guarantee, place."""
    tiles: list[tuple[str, str]] = []
    sweep, grid, star = row_of(comparison, "sweep"), row_of(comparison, "grid"), chosen_model(comparison)
    if sweep and grid and sweep.planned_samples and grid.planned_samples:
        ratio = times_text(grid.planned_samples, sweep.planned_samples)
        either = [(name, row) for name, row in (("sweep", sweep), ("grid", grid)) if row.extrapolated]
        label = "as many samples for the grid as for NMT's sweep"
        about = "; ".join(f"{name} {extrapolation_text(row)}" for name, row in either)
        tiles.append((f"{'≈ ' if either else ''}{ratio} ×", f"{label} ({about})" if about else label))
    if star is not None and (said := guarantee_text(star, comparison)) != NOTHING:
        tiles.append((said.partition(":")[0], "guarantee of NMT's chosen model on the validation split"))
    if (standing := star_standing(comparison)) is not None:
        models = f"{standing.dominating:,} of {standing.others:,} trained grid models dominate NMT's chosen model"
        tiles.append((standing.place, f"the grid's front on the test split; {models}"))
    items = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(label)}</dd></div>" for what, label in tiles)
    return f'<dl class="tiles">{items}</dl>' if tiles else ""


def _methods(comparison: Comparison) -> str:
    """Costs and metrics side by side for a few tasks, otherwise in two tables."""
    shown = comparison.tasks[:MOST_COLUMNS]
    common = common_metric(comparison.tasks)
    cost_heads = _heads(["trials", "stages trained", "samples", "worker-seconds"])
    metric_heads = _task_heads(shown, common) + _heads(["guarantee on valid"], "word")
    firsts, costs, metrics = [], [], []
    for line in lines(comparison):
        mine = ' class="mine"' if line.row.source == "sweep" else ""
        firsts.append(f'<tr{mine}><th scope="row">{escape(line.row.name)}</th>')
        notes = "".join(f"<small>{escape(note)}</small>" for note in line.notes)
        costs.append(
            f"{_cells([trials_text(line.row)])}{_noted(stages_text(line.row), ' + ', '+ ')}"
            f"<td>{escape(amount_text(line.row))}{notes}</td>{_noted(seconds_text(line.row), ' (', '(')}"
        )
        values = list(zip(line.metrics, line.best, strict=True))[: len(shown)]
        metrics.append(
            "".join(f"<td><strong>{text}</strong></td>" if best else f"<td>{text}</td>" for text, best in values)
            + f'<td class="word">{_guarantee(line.guarantee)}</td>'
        )
    best = f"Test {common or 'metrics'} of the model that each method chose; the best of a column is bold."
    caption = f"{best} {shown_tasks(comparison.tasks, len(shown))}".rstrip()
    head = _heads(["method"], "word")
    if len(shown) <= _MOST_BESIDE:
        rows = [f"{first}{cost}{metric}</tr>" for first, cost, metric in zip(firsts, costs, metrics, strict=True)]
        return _section("Methods", _table("Methods", head + cost_heads + metric_heads, rows, caption))
    above = [f"{first}{cost}</tr>" for first, cost in zip(firsts, costs, strict=True)]
    below = [f"{first}{metric}</tr>" for first, metric in zip(firsts, metrics, strict=True)]
    spent = _table("Cost", head + cost_heads, above, "What each method cost.")
    return _section("Methods", f"{spent}\n{_table('Test metrics', head + metric_heads, below, caption)}")


def _front(comparison: Comparison) -> str:
    if not comparison.models:
        return _section("Trade-off", "<p>No model was trained, so there is no trade-off to draw.</p>")
    svg = inline_svg(trade_off_front(comparison), "front", f"Trade-off between the tasks. {headline(comparison).front}")
    caption = (
        "Every point is a trained model on the test split. The blue steps are the border of what the grid dominates in "
        "the two tasks of a panel; a star behind them is dominated in these two tasks. The title counts all tasks."
    )
    return _section("Trade-off", _picture(svg, caption))


def _costs(comparison: Comparison) -> str:
    if not comparison.costs:
        return ""
    figure = cost_against_tasks(comparison.costs, exact=comparison.exact_samples)
    (axes,) = figure.axes
    title = axes.get_title(loc="left")
    svg = inline_svg(figure, "cost", f"Samples against the number of tasks, on a logarithmic axis. {title}.")
    kind = "exact, since stages have a fixed length" if comparison.exact_samples else "upper bounds"
    caption = f"Solid: trained and counted. Hollow and dashed: predicted; the predictions are {kind}."
    return _section("Cost against the number of tasks", _picture(svg, caption))


def _multipliers(comparison: Comparison) -> str:
    if not comparison.chain:
        return ""
    figure = multiplier_trajectory(comparison.chain)
    (axes,) = figure.axes
    svg = inline_svg(figure, "multipliers", axes.get_title(loc="left"))
    caption = (
        "NMT's chosen chain: the multiplier λ of each protected task. It is the price of that task's guarantee, in "
        "units of what the stage minimises; each stage starts anew."
    )
    return _section("Multipliers", _picture(svg, caption))


def _reading(comparison: Comparison) -> str:
    return _section(
        "How to read this",
        "<p>NMT solves the tasks by priority, one stage per level, and holds every solved task at its optimum, so its "
        "cost grows linearly with the number of tasks m; a grid of p weights per task takes p<sup>m</sup> trainings. "
        "A model dominates another if it is at least as good in every task and better in one. The chosen model lies "
        "<em>beyond</em> the grid's front if no grid model dominates it and it dominates one on the front, "
        "<em>inside</em> if a grid model dominates it, and otherwise <em>on</em> it: another trade-off. With more "
        "tasks, fewer models dominate each other. Models are chosen on the validation split and shown on the test "
        "split; test metrics carry no standard error here, so small differences may be noise.</p>",
    )


def _known(comparison: Comparison) -> str:
    items = [
        "<li>Measured: every model in the last table was trained, and its samples, stages and worker-seconds were "
        "counted. Samples are training examples seen, over all workers; they do not depend on the machine. "
        "Worker-seconds do, and are shown as counted.</li>"
    ]
    items += [
        f"<li>Extrapolated: {escape(row.name)}, {escape(amount_text(row))} samples, "
        f"{escape(extrapolation_text(row))}; stages and worker-seconds are those of the trained ones.</li>"
        for row in comparison.rows
        if row.extrapolated and row.planned_samples
    ]
    if any(not point.measured for point in comparison.costs):
        kind = (
            "exact for stages of a fixed length" if comparison.exact_samples else "upper bounds: stages may end early"
        )
        items.append(f"<li>Predicted: the hollow points of the cost curve; they are {kind}.</li>")
    reused = sum(row.cost.samples_reused for row in comparison.rows)
    if reused:
        items.append(
            f"<li>Reused: {escape(count_text(reused))} samples belong to stages that were found finished and not "
            "trained again; they are counted in the samples of their method, and named.</li>"
        )
    return _section("Measured and predicted", f"<ul>{''.join(items)}</ul>")


def _every_task(comparison: Comparison) -> str:
    """Tasks as rows, where the first table does not have them all."""
    if len(comparison.tasks) <= MOST_COLUMNS:
        return ""
    found = lines(comparison)
    body = [
        f'<tr><th scope="row">{escape(task.name)}</th><td>{task.level}</td>'
        f'<td class="word">{escape(task_header(task))}</td>'
        + "".join(
            f"<td><strong>{line.metrics[index]}</strong></td>"
            if line.best[index]
            else f"<td>{line.metrics[index]}</td>"
            for line in found
        )
        + "</tr>"
        for index, task in enumerate(comparison.tasks)
    ]
    head = _heads(["task", "level", "metric", *(line.row.name for line in found)])
    table = _table("Every task", head, body, "Test metrics of the chosen models; the best of a row is bold.")
    return _section("Every task", _folded(f"All {len(comparison.tasks)} tasks", table))


def _every_model(comparison: Comparison) -> str:
    if not comparison.models:
        return ""
    sources = [source for source in _SOURCES if any(model.source == source for model in comparison.models)]
    ordered = [model for source in _SOURCES for model in comparison.models if model.source == source]
    texts = [metric_texts([model.test.get(task.name) for model in ordered]) for task in comparison.tasks]
    body = []
    for index, model in enumerate(ordered):
        rates = [rate_text(model.eta_theta), rate_text(model.eta_lambda)]
        mark = ' <span title="chosen" aria-label="chosen">★</span>' if model.winner else ""
        seconds = f"{model.cost.worker_seconds:,.1f}" if math.isfinite(model.cost.worker_seconds) else NOTHING
        samples = count_text(model.cost.samples + model.cost.samples_reused)
        body.append(
            f'<tr><th scope="row">{escape(model.label)}{mark}</th><td class="word">{_SOURCES[model.source]}</td>'
            + f'<td class="word">{escape(model.method)}</td>'
            + _cells(rates)
            + _cells(column[index] for column in texts)
            + f'<td class="word">{_guarantee(guarantee_text(model, comparison))}</td>'
            + _cells([samples, seconds])
            + f'<td class="word">{_run(model)}</td></tr>'
        )
    common = common_metric(comparison.tasks)
    head = _heads(["model", "from", "method"], "word") + _heads(["η_θ", "η_λ"]) + _task_heads(comparison.tasks, common)
    head += (
        _heads(["guarantee on valid"], "word") + _heads(["samples", "worker-seconds"]) + _heads(["MLflow run"], "word")
    )
    counts = ", ".join(f"{_SOURCES[source]} {len(models_of(comparison, source)):,}" for source in sources)
    caption = f"Test {common or 'metrics'}; ★ is chosen of its source. Trained: {counts}. Samples include reused ones."
    table = _table("Every model", head, body, caption)
    count = f"{len(ordered):,} trained model{'' if len(ordered) == 1 else 's'}"
    return _section("Every model", _folded(count, table))


def _run(model: ComparedModel) -> str:
    return NOTHING if model.run_id is None else f"<code>{escape(model.run_id)}</code>"


def _guarantee(text: str) -> str:
    """``held``, or ``broken:`` and the task below, in colour."""
    kind = text.partition(":")[0]
    if kind not in ("held", "broken"):
        return escape(text)
    task = text.partition(": ")[2]
    small = f"<small>{escape(task)}</small>" if task else ""
    return f'<span class="{kind}">{kind}{":" if task else ""}</span>{small}'


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}\n</section>'


def _folded(summary: str, content: str) -> str:
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}\n</details>"


def _picture(svg: str, caption: str) -> str:
    return f'<figure>\n<div class="wide">\n{svg}\n</div>\n<figcaption>{escape(caption)}</figcaption>\n</figure>'


def _table(name: str, head: str, body: Sequence[str], caption: str) -> str:
    rows = "\n".join(body)
    return f"""<div class="wide" role="region" aria-label="Table: {escape(name)}" tabindex="0">
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
<p class="quiet">{escape(caption)}</p>"""


def _heads(names: Iterable[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return "".join(f'<th scope="col"{attribute}>{escape(name)}</th>' for name in names)


def _task_heads(tasks: Sequence[ComparedTask], common: str | None) -> str:
    """A head per task, with its metric where the tasks do not share one."""
    return "".join(
        f'<th scope="col">{escape(task.name)}{"" if common else f"<small>{escape(task_header(task))}</small>"}</th>'
        for task in tasks
    )


def _noted(text: str, before: str, mark: str) -> str:
    """A cell with what follows ``before`` in small letters below."""
    amount, found, note = text.partition(before)
    small = f"<small>{escape(mark + note)}</small>" if found else ""
    return f"<td>{escape(amount)}{small}</td>"


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)
