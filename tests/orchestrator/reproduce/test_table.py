"""A study's table: means, standard errors and paired differences by hand."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from matplotlib.text import Text
from rich.console import Console

from nmt.orchestrator.comparison.files import png
from nmt.orchestrator.reproduce.front import study_front
from nmt.orchestrator.reproduce.run import Place, study_table
from nmt.orchestrator.reproduce.study import Arm, DataSet, Study
from nmt.orchestrator.reproduce.table import Estimate
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.trials.trial import Trial, TrialResult
from nmt.trainers.spec.training import Training
from tests.orchestrator import _records, _tracked

STUDY = Study(
    title="A table",
    data_sets={"made_up": DataSet(title="Made up", experiment={"tasks": []})},
    default="made_up",
    arms={"sum": Arm(), "NMT": Arm()},
    reference="sum",
    average=True,
    printed={"": {"NMT": {"pay": "0.9"}}},
    agreement="pay gains.",
)
TASKS = _tracked.SPEC.tasks[:2]
PAY = {("sum", 0): 0.70, ("sum", 1): 0.80, ("NMT", 0): 0.74, ("NMT", 1): 0.82}


def result(arm: str, pay: float) -> TrialResult:
    """A finished trial of two tasks."""
    levels = [["pay"], ["amount"]] if arm == "NMT" else [["pay", "amount"]]
    records = list(_records.chain(levels, steps=4, evaluations=2))
    records[-1] = replace(records[-1], metrics={"test": {"pay": pay, "amount": 0.5}, "valid": {}})
    method = "nmt" if arm == "NMT" else "weighted_sum"
    spec = replace(_tracked.SPEC, training=Training(method=method).settle())
    return TrialResult(Trial(arm, "method", spec, method), tuple(records), Cost(trials=1), "finished")


FOUND = {Place("", arm, seed): result(arm, pay) for (arm, seed), pay in PAY.items()}


def test_means_and_paired_differences() -> None:
    reference, nmt = study_table("A table, on made-up data", STUDY, TASKS, FOUND).lines
    assert reference.values["pay"] == Estimate(pytest.approx(0.75), pytest.approx(0.05))
    assert nmt.values["average"].mean == pytest.approx((0.78 + 0.5) / 2)
    # Paired: +0.04 and +0.02, with a far smaller error than that of the means.
    assert nmt.differences["pay"] == Estimate(pytest.approx(0.03), pytest.approx(0.01))
    assert reference.differences == {}
    assert (reference.held, nmt.held, nmt.seeds) == (None, 2, 2)


def test_a_seed_that_failed_is_left_out_of_the_pairs() -> None:
    failed = replace(FOUND[Place("", "NMT", 1)], status="failed")
    _, nmt = study_table("t", STUDY, TASKS, {**FOUND, Place("", "NMT", 1): failed}).lines
    assert nmt.seeds == 1
    assert nmt.differences["pay"].mean == pytest.approx(0.04)
    assert math.isnan(nmt.differences["pay"].error)


def test_markdown_and_terminal_show_title_differences_and_the_papers_finding() -> None:
    table = study_table("A table, on made-up data", STUDY, TASKS, FOUND)
    stream = io.StringIO()
    Console(file=stream, width=160).print(table.terminal())
    for text in (stream.getvalue(), table.markdown()):
        assert "A table, on made-up data" in text
        assert "+0.0300 ± 0.0100" in text
        assert "2 of 2" in text
        assert "paper" in text
        assert "The paper: pay gains." in " ".join(text.split())


def test_one_seed_has_no_standard_error() -> None:
    assert Estimate.of([0.5]).text() == "0.5000"
    assert Estimate.of([]).text() == "–"


def test_the_front_has_a_star_and_points() -> None:
    table = study_table("A table, on made-up data", STUDY, TASKS, FOUND)
    figure = study_front(table, TASKS)
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"weighted sum", "NMT"}
    assert png(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="needs two tasks, found 1"):
        study_front(table, TASKS[:1])


def test_a_long_title_stays_inside_the_figure() -> None:
    table = study_table(
        "Figure 2: loss weights and NMT; on data that " + "stand in for the paper's; " * 4, STUDY, TASKS, FOUND
    )
    figure = study_front(table, TASKS)
    png(figure)
    (title,) = (text for text in figure.findobj(Text) if text.get_text().startswith("Figure 2"))
    box = title.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_chains_that_stop_before_they_protect_a_task_keep_no_guarantee() -> None:
    """Stage 0 and stage 1 hold nothing."""
    early = _records.chain([["pay"], ["amount"]], steps=4, evaluations=2, joint=True)[:2]
    found = {place: replace(one, records=early) if place.arm == "NMT" else one for place, one in FOUND.items()}
    assert [line.held for line in study_table("A table", STUDY, TASKS, found).lines] == [None, None]
