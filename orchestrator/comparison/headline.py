"""The headline of a comparison: the same sentences in the terminal, in Markdown, in HTML and in the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nmt.orchestrator.comparison.dominance import Standing, dominates, standing
from nmt.orchestrator.comparison.numerals import samples_text, times_text
from nmt.orchestrator.comparison.results import ComparedModel, Comparison, MethodRow
from nmt.orchestrator.summary.on_test import sentences_on_test
from nmt.orchestrator.summary.wording import join_names
from nmt.orchestrator.trials.trial import Source


@dataclass(frozen=True)
class Headline:
    """The findings in words.

    Attributes:
        cost: Sentence on the samples of NMT's sweep and of the grid.
        guarantee: Clause on the guarantee of NMT's chosen model, without a full stop.
        on_test: Sentences on protected tasks that kept their limits on valid and not on test; often none.
        front: Sentences on where that model lies relative to the grid's front, and on what else dominates it.
    """

    cost: str
    guarantee: str
    on_test: str
    front: str

    @property
    def text(self) -> str:
        """The whole headline."""
        return " ".join(part for part in (self.cost, f"{self.guarantee}.", self.on_test, self.front) if part)


def headline(comparison: Comparison) -> Headline:
    """Return the headline of a comparison."""
    return Headline(_cost(comparison), _guarantee(comparison), _on_test(comparison), _front(comparison))


def row_of(comparison: Comparison, source: Source) -> MethodRow | None:
    """Return the first row of a source."""
    return next((row for row in comparison.rows if row.source == source), None)


def chosen_model(comparison: Comparison) -> ComparedModel | None:
    """Return the winner of NMT's sweep, which the figures draw as a star."""
    row = row_of(comparison, "sweep")
    return None if row is None else row.chosen


def samples_seen(comparison: Comparison) -> str:
    """Say how many training examples the chosen models of NMT and of the grid saw; empty where one of them is missing.

    A training with fixed weights has the budget of one stage, a chain goes through several: who compares the models
    compares different amounts of training.
    """
    row, own = row_of(comparison, "grid"), chosen_model(comparison)
    other = None if row is None else row.chosen
    if own is None or other is None:
        return ""
    seen = [model.cost.samples + model.cost.samples_reused for model in (own, other)]
    return (
        f"Training examples that the chosen models saw: NMT's {seen[0]:,} over all its stages, the grid's {seen[1]:,}, "
        "which has the budget of one stage. More training alone can be part of a difference."
    )


def models_of(comparison: Comparison, source: Source) -> tuple[ComparedModel, ...]:
    """Return every trained model of a source."""
    return tuple(model for model in comparison.models if model.source == source)


def is_single_task(model: ComparedModel, comparison: Comparison) -> bool:
    """Return whether a model is single-task: a baseline with one task, in a comparison of several."""
    return model.source == "baseline" and len(model.test) == 1 and len(comparison.tasks) > 1


def star_standing(comparison: Comparison) -> Standing | None:
    """Compare NMT's chosen model with the trained grid; ``None`` where either is missing."""
    star = chosen_model(comparison)
    return None if star is None else standing(star, models_of(comparison, "grid"), comparison.tasks)


def _cost(comparison: Comparison) -> str:
    sweep, grid = row_of(comparison, "sweep"), row_of(comparison, "grid")
    if sweep is None:
        return "There is no sweep of NMT."
    if not sweep.planned_samples:
        return "NMT's sweep finished no trial."
    own = f"NMT's sweep took {samples_text(sweep)} samples"
    if grid is None:
        return f"{own}; there is no grid to compare it with."
    if not grid.planned_samples:
        return f"{own}; the grid finished no trial."
    both = f"{own}, the grid {samples_text(grid)}"
    about = "about " if sweep.extrapolated or grid.extrapolated else ""
    return f"{both}: {about}{times_text(grid.planned_samples, sweep.planned_samples)} times as many."


def _guarantee(comparison: Comparison) -> str:
    star = chosen_model(comparison)
    if star is None:
        return "No model of NMT was chosen, so there is no guarantee"
    if len({task.level for task in comparison.tasks}) == 1:
        return "Nothing is protected: there is one level"
    if star.guarantee == "held":
        return "The guarantee held: every protected task is within its limit on the validation split"
    if star.guarantee == "broken":
        which = f": {star.worst_task} is beyond its limit" if star.worst_task else ""
        return f"The guarantee did not hold{which} on the validation split"
    return "Whether the guarantee held is unknown: it was not evaluated"


def _on_test(comparison: Comparison) -> str:
    star = chosen_model(comparison)
    return "" if star is None else " ".join(sentences_on_test(star.verdicts))


def _front(comparison: Comparison) -> str:
    star = chosen_model(comparison)
    if star is None:
        return "Without a chosen model there is nothing to compare with the grid's front."
    others = _rivals(star, comparison)
    found = star_standing(comparison)
    if found is None:
        why = "no grid model has all test metrics" if models_of(comparison, "grid") else "there is no trained grid"
        return f"The chosen model cannot be compared with a front: {why}.{others}"
    return f"{_place(found, comparison)}{others}"


def _place(found: Standing, comparison: Comparison) -> str:
    grid = row_of(comparison, "grid")
    trained = f"{found.others:,} trained" if grid is not None and grid.extrapolated else f"{found.others:,}"
    models = f"{trained} grid models"
    what = f"the chosen model lies {found.place} the grid's front"
    if found.dominating:
        how = f"{found.dominating:,} of the {models} dominate{'s' if found.dominating == 1 else ''} it"
    else:
        how = f"none of the {models} dominates it"
    then = f"it dominates {found.dominated:,}" if found.dominated else "it dominates none"
    if 0 < found.front_dominated == found.dominated:
        then += ", on the front" if found.dominated == 1 else ", all on the front"
    elif found.front_dominated:
        then += f", {found.front_dominated:,} of them on the front"
    lacking = f"; {found.incomplete:,} more lack a metric" if found.incomplete else ""
    return f"On the test split {what}: {how}, and {then}{lacking}."


def _rivals(star: ComparedModel, comparison: Comparison) -> str:
    """Return which baselines and methods dominate NMT's chosen model: a sentence after a space, or nothing."""
    rows: Sequence[MethodRow] = [row for row in comparison.rows if row.source in ("baseline", "method")]
    names = [
        row.name for row in rows if row.chosen is not None and dominates(row.chosen.test, star.test, comparison.tasks)
    ]
    return f" It is dominated by {join_names(names)}." if names else ""
