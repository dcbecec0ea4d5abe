"""The page of a comparison: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from nmt.orchestrator.comparison.cost_figure import cost_against_tasks
from nmt.orchestrator.comparison.front_figure import trade_off_front
from nmt.orchestrator.comparison.guarantees import guarantee_lines, shared_metric
from nmt.orchestrator.comparison.headline import chosen_model, headline, models_of, row_of, samples_seen, star_standing
from nmt.orchestrator.comparison.numerals import (
    amount_text,
    count_text,
    decimal_text,
    extrapolation_text,
    metric_texts,
    plural_text,
    rate_text,
    seconds_text,
    stages_text,
    times_text,
    trials_text,
)
from nmt.orchestrator.comparison.results import ComparedModel, Comparison
from nmt.orchestrator.comparison.table import (
    MOST_COLUMNS,
    common_metric,
    guarantee_text,
    lines,
    omission_text,
    task_header,
)
from nmt.orchestrator.figures.multipliers import multiplier_trajectory
from nmt.orchestrator.figures.svg import SCHEME, inline_svg
from nmt.orchestrator.summary.wording import NOTHING
from nmt.orchestrator.trials.trial import Source

_SOURCES: dict[Source, str] = {"sweep": "NMT's sweep", "grid": "grid", "baseline": "baseline", "method": "method"}

_COLOURS = (*SCHEME.values(), ("good", "#0a7a4b", "#4cc38a"), ("bad", "#b3261e", "#ff8a80"))
"""Name, light and dark value of each CSS variable."""

_FILTERS: tuple[Callable[..., str], ...] = (
    amount_text,
    count_text,
    decimal_text,
    extrapolation_text,
    guarantee_text,
    plural_text,
    rate_text,
    seconds_text,
    stages_text,
    task_header,
    trials_text,
)


def page(comparison: Comparison) -> str:
    """Return the comparison as a complete HTML document, with its pictures and style inside and without any script."""
    shown = comparison.tasks[:MOST_COLUMNS]
    return _template().render(
        colours=_COLOURS,
        common=common_metric(comparison.tasks),
        comparison=comparison,
        costs=_costs_svg(comparison),
        counts=_count_models(comparison),
        front=_front_svg(comparison),
        guarantees=guarantee_lines(comparison),
        guarantees_metric=shared_metric(guarantee_lines(comparison)),
        headline=headline(comparison),
        lines=lines(comparison),
        models=_models(comparison),
        multipliers=_multipliers_svg(comparison),
        nothing=NOTHING,
        omission=omission_text(comparison.tasks, len(shown)),
        priority=_priority(comparison),
        samples_seen=samples_seen(comparison),
        shown=shown,
        sources=_SOURCES,
        tiles=_tiles(comparison),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("orchestrator", "comparison"),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update({filter_.__name__: filter_ for filter_ in _FILTERS})
    return environment.get_template("page.html.jinja")


def _priority(comparison: Comparison) -> str:
    """Return the tasks by priority, each with its metric unless all share one."""
    common = common_metric(comparison.tasks)
    tasks = [task.name if common else f"{task.name} ({task_header(task)})" for task in comparison.tasks[:MOST_COLUMNS]]
    more = len(comparison.tasks) - len(tasks)
    names = " › ".join([*tasks, *([f"{more} more"] if more else [])])
    return f"{plural_text(len(comparison.tasks), 'task')} by priority: {names}{f' ({common})' if common else ''}"


def _tiles(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the three findings (cost, guarantee, place), each as a word and its meaning."""
    tiles: list[tuple[str, str]] = []
    sweep, grid, star = row_of(comparison, "sweep"), row_of(comparison, "grid"), chosen_model(comparison)
    if sweep and grid and sweep.planned_samples and grid.planned_samples:
        ratio = times_text(grid.planned_samples, sweep.planned_samples)
        extrapolated = [(name, row) for name, row in (("sweep", sweep), ("grid", grid)) if row.extrapolated]
        meaning = "as many samples for the grid as for NMT's sweep"
        how = "; ".join(f"{name} {extrapolation_text(row)}" for name, row in extrapolated)
        tiles.append((f"{'≈ ' if extrapolated else ''}{ratio} ×", f"{meaning} ({how})" if how else meaning))
    if star is not None and (guarantee := guarantee_text(star, comparison)) != NOTHING:
        tiles.append((guarantee.partition(":")[0], "guarantee of NMT's chosen model on the validation split"))
    if (standing := star_standing(comparison)) is not None:
        models = f"{standing.dominating:,} of {standing.others:,} trained grid models dominate NMT's chosen model"
        tiles.append((standing.place, f"the grid's front on the test split; {models}"))
    return tiles


def _models(comparison: Comparison) -> list[tuple[ComparedModel, tuple[str, ...]]]:
    """Return every model by source, with its test metrics in the order of the tasks."""
    ordered = [model for source in _SOURCES for model in comparison.models if model.source == source]
    columns = [metric_texts([model.test.get(task.name) for model in ordered]) for task in comparison.tasks]
    return list(zip(ordered, zip(*columns, strict=True), strict=True))


def _count_models(comparison: Comparison) -> str:
    """Return how many models each source trained."""
    counts = {source: len(models_of(comparison, source)) for source in _SOURCES}
    return ", ".join(f"{_SOURCES[source]} {count:,}" for source, count in counts.items() if count)


def _front_svg(comparison: Comparison) -> str | None:
    if not comparison.models:
        return None
    description = f"Trade-off between the tasks. {headline(comparison).front}"
    return inline_svg(trade_off_front(comparison), "front", description)


def _costs_svg(comparison: Comparison) -> str | None:
    if not comparison.costs:
        return None
    figure = cost_against_tasks(comparison.costs, exact=comparison.exact_samples)
    (axes,) = figure.axes
    title = axes.get_title(loc="left")
    return inline_svg(figure, "cost", f"Samples against the number of tasks, on a logarithmic axis. {title}.")


def _multipliers_svg(comparison: Comparison) -> str | None:
    if not comparison.chain:
        return None
    figure = multiplier_trajectory(comparison.chain)
    (axes,) = figure.axes
    return inline_svg(figure, "multipliers", axes.get_title(loc="left"))
