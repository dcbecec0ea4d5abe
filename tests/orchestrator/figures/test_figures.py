"""The figures of a chain show what its records hold, at 2, 3 and 64 tasks."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nmt.orchestrator.figures import losses as losses_module
from nmt.orchestrator.figures.losses import losses_against_optima
from nmt.orchestrator.figures.multipliers import MOST_NAMED, MOST_POINTS, multiplier_trajectory
from nmt.orchestrator.figures.style import (
    ACCEPTED,
    KEPT,
    PALETTE,
    escape_mathtext,
    fit_font_size,
    spans,
    spread,
    strokes,
)
from nmt.trainers.records import StageRecord
from nmt.trainers.stage.followed import trim_curves
from tests.orchestrator._records import chain, nulled, record, verdict

Draw = Callable[[Sequence[StageRecord]], Figure]
DRAWINGS = (multiplier_trajectory, losses_against_optima)

TWO = [["like"], ["finish"]]
THREE = [["pay"], ["amount"], ["relevance"]]
SIXTY_FOUR = [[f"assay_{index:02}"] for index in range(64)]
IN_FOUR_LEVELS = [[f"assay_{index:02}" for index in range(first, first + 16)] for first in range(0, 64, 16)]


def rendered(figure: Figure) -> bytes:
    """Return the figure as a PNG, since some artists fail only when they are drawn."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40)
    return stream.getvalue()


def lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def line(axes: Axes, label: str) -> Line2D:
    (found,) = lines(axes, label)
    return found


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize(
    "records",
    [
        chain([["only"]]),
        chain(TWO),
        chain(THREE, idle=[1, 2]),
        chain(THREE, joint=True),
        chain(THREE, joint=True)[:2],
        chain(IN_FOUR_LEVELS, steps=10, evaluations=3, joint=True),
        chain([["a", "b"], ["c", "d", "e"]]),
        chain([[f"t{index}"] for index in range(9)], steps=20),
        chain(SIXTY_FOUR, steps=10, evaluations=3, idle=[5]),
        chain(IN_FOUR_LEVELS, steps=10, evaluations=3),
        chain(THREE, steps=30, every=100),
        [nulled(one) for one in chain(THREE)],
        [nulled(one) for one in chain(IN_FOUR_LEVELS, steps=10, evaluations=3)],
        [replace(one, candidates=(), rows=(), optima=(), verdicts=()) for one in chain(THREE)],
        chain([["$a_1$"], ["_b-c $"], ["{d}"]], steps=10),
    ],
    ids=["one", "two", "idle", "joint", "to-stage-1", "64-joint", "levels", "nine", "64", "64-levels", "no-rows",
         "null", "null-64", "bare", "odd-names"],
)  # fmt: skip
def test_every_chain_can_be_drawn(draw: Draw, records: Sequence[StageRecord]) -> None:
    assert rendered(draw(records)).startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", DRAWINGS)
def test_no_record_is_refused(draw: Draw) -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        draw([])


def test_drawing_does_not_change_matplotlib_settings() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    rendered(losses_against_optima(chain(TWO)))
    assert dict(matplotlib.rcParams) == before


class TestMultipliers:
    def test_a_line_per_protected_task_with_a_gap_where_a_stage_ends(self) -> None:
        records = chain(THREE, steps=40)
        (axes,) = multiplier_trajectory(records).axes
        pay, amount = line(axes, "λ pay"), line(axes, "λ amount")
        assert lines(axes, "λ relevance") == []
        x, y = np.asarray(pay.get_xdata()), np.asarray(pay.get_ydata())
        assert x[0] == 41  # the first step of stage 2, after the 40 of stage 1
        assert np.isnan(y).nonzero()[0].tolist() == [40, 81]
        assert y[:40].tolist() == [row.multipliers["pay"] for row in records[1].rows]
        assert np.nanmin(np.asarray(amount.get_xdata())) == 81

    def test_the_last_value_is_drawn_even_where_no_row_was_recorded(self) -> None:
        first, second = chain(TWO, steps=30, every=100)
        (axes,) = multiplier_trajectory([first, replace(second, multipliers={"like": 7.0})]).axes
        x, y = line(axes, "λ like").get_data()
        assert (np.asarray(x)[0], np.asarray(y)[0]) == (60, 7.0)

    def test_long_histories_are_thinned(self) -> None:
        (axes,) = multiplier_trajectory(chain(TWO, steps=4 * MOST_POINTS, evaluations=2)).axes
        assert len(np.asarray(line(axes, "λ like").get_xdata())) <= MOST_POINTS + 2

    def test_stars_are_at_the_accepted_steps_and_hollow_where_nothing_was_gained(self) -> None:
        records = chain(THREE, steps=40, idle=[1])
        (axes,) = multiplier_trajectory(records).axes
        accepted, kept = line(axes, ACCEPTED), line(axes, KEPT)
        assert list(np.asarray(accepted.get_xdata())) == [records[0].accepted_step, 80 + records[2].accepted_step]
        assert list(np.asarray(kept.get_xdata())) == [40]
        assert (accepted.get_marker(), kept.get_marker()) == ("*", "*")
        assert accepted.get_markerfacecolor() != kept.get_markerfacecolor() == "white"

    def test_stages_are_named(self) -> None:
        (axes,) = multiplier_trajectory(chain(THREE)).axes
        assert {"stage 1: pay", "stage 2: amount", "stage 3: relevance"} <= set(texts(axes))

    def test_the_joint_start_is_stage_0_and_protects_nothing(self) -> None:
        records = chain(THREE, steps=40, joint=True)
        (axes,) = multiplier_trajectory(records).axes
        assert {"stage 0: joint", "stage 1: pay", "stage 2: amount", "stage 3: relevance"} <= set(texts(axes))
        assert np.nanmin(np.asarray(line(axes, "λ pay").get_xdata())) == 81  # after stages 0 and 1

    def test_the_title_names_the_dearest_task(self) -> None:
        first, second = chain(TWO)
        (axes,) = multiplier_trajectory([first, replace(second, multipliers={"like": 2.345})]).axes
        assert axes.get_title(loc="left") == "Multipliers: like holds finish back, λ = 2.35 at the end"
        (axes,) = multiplier_trajectory([first, replace(second, multipliers={"like": 0.0})]).axes
        assert axes.get_title(loc="left") == "Multipliers: all at 0, nothing holds finish back"

    def test_of_64_tasks_the_largest_are_named_and_the_others_grey(self) -> None:
        records = chain(SIXTY_FOUR, steps=10, evaluations=2)
        (axes,) = multiplier_trajectory(records).axes
        drawn = {task: line(axes, f"λ {task}") for task in records[-1].protected}
        assert len(drawn) == 63
        largest = sorted(drawn, key=lambda task: records[-1].multipliers[task], reverse=True)[:MOST_NAMED]
        assert {task for task, one in drawn.items() if one.get_color() in PALETTE} == set(largest)
        named = [text.split("  ")[0] for text in texts(axes) if text.startswith("assay")]
        assert named == largest
        assert f"{63 - MOST_NAMED} more, smaller" in texts(axes)

    def test_of_64_tasks_recorded_in_part_the_final_values_are_drawn(self) -> None:
        records = [trim_curves(one) for one in chain(SIXTY_FOUR, steps=10, evaluations=2)]
        (axes,) = multiplier_trajectory(records).axes
        drawn = [line(axes, f"λ {task}") for task in records[-1].protected]
        assert [len(one.get_xdata()) for one in drawn] == list(range(63, 0, -1))  # one point per stage that protects it
        assert sum(one.get_color() in PALETTE for one in drawn) == MOST_NAMED
        assert len([text for text in texts(axes) if text.startswith("assay")]) == MOST_NAMED
        assert axes.get_ylabel() == "multiplier λ at the end of the stage"

    def test_the_axis_is_logarithmic_only_where_a_large_multiplier_would_flatten_the_others(self) -> None:
        records = chain(THREE)
        assert multiplier_trajectory(records).axes[0].get_yscale() == "linear"
        grown = tuple(
            replace(one, rows=tuple(replace(row, multipliers={**row.multipliers, "pay": 500.0}) for row in one.rows))
            if one.protected
            else one
            for one in records
        )
        assert multiplier_trajectory(grown).axes[0].get_yscale() == "symlog"

    def test_a_chain_of_one_stage_says_that_nothing_is_protected(self) -> None:
        (axes,) = multiplier_trajectory(chain([["like"]])).axes
        assert axes.get_title(loc="left").startswith("Multipliers: none")
        assert not axes.lines


class TestLosses:
    def test_a_panel_per_task_and_an_enlarged_one_per_protected_task(self) -> None:
        figure = losses_against_optima(chain(THREE))
        shown = [axes for axes in figure.axes if axes.axison]
        titles = [axes.get_title(loc="left") for axes in shown]
        assert [title.split()[0].rstrip(":") for title in titles] == [
            "pay",
            "enlarged",
            "amount",
            "enlarged",
            "relevance",
        ]

    def test_optima_are_drawn_at_their_heights_from_the_accepted_step_on(self) -> None:
        records = chain(THREE, steps=40)
        optimum = records[1].optima[0]
        axes = losses_against_optima(records).axes[2]
        for label, height, dashes in (
            (losses_module.OPTIMUM, optimum.train, "--"),
            (losses_module.OPTIMUM_VALID, optimum.valid, ":"),
        ):
            drawn = line(axes, label)
            assert list(np.asarray(drawn.get_ydata())) == [height, height]
            assert list(np.asarray(drawn.get_xdata())) == [40 + records[1].accepted_step, 120]
            assert drawn.get_linestyle() == dashes

    def test_candidates_are_filled_hollow_or_starred(self) -> None:
        records = chain(TWO, steps=40, evaluations=8, idle=[1])
        axes = losses_against_optima(records).axes[0]
        both = [(40 * one.stage, candidate, one) for one in records for candidate in one.candidates]
        expected: dict[str, list[float]] = {
            losses_module.ACCEPTED: [at + c.step for at, c, one in both if c.step == one.accepted_step],
            losses_module.FEASIBLE: [at + c.step for at, c, one in both if c.feasible and c.step != one.accepted_step],
            losses_module.INFEASIBLE: [at + c.step for at, c, _ in both if not c.feasible],
        }
        assert all(expected.values())
        for label, x in expected.items():
            assert list(np.asarray(line(axes, label).get_xdata())) == x
        assert line(axes, losses_module.ACCEPTED).get_marker() == "*"
        assert line(axes, losses_module.INFEASIBLE).get_markerfacecolor() == "white"
        assert line(axes, losses_module.FEASIBLE).get_markerfacecolor() == PALETTE[0]

    def test_the_band_reaches_from_the_valid_optimum_to_the_limit(self) -> None:
        records = chain(TWO, steps=40)
        axes = losses_against_optima(records).axes[0]
        (band,) = [one for one in axes.collections if one.get_label() == losses_module.ALLOWED]
        heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
        judged = [candidate.verdicts[0] for candidate in records[1].candidates]
        assert heights.min() == pytest.approx(records[0].optima[0].valid)
        assert heights.max() == pytest.approx(max(one.optimum + one.allowed for one in judged))

    def test_the_enlarged_panel_shows_differences_and_puts_far_ones_at_its_edge(self) -> None:
        first, second = chain(TWO, steps=40, evaluations=4)
        worst = second.candidates[2]
        far = replace(worst, verdicts=(verdict("like", 5.0, 0.001),), feasible=False)
        second = replace(second, candidates=(*second.candidates[:2], far, *second.candidates[3:]))
        axes = losses_against_optima([first, second]).axes[1]
        (drawn,) = lines(axes, losses_module.BEYOND)
        assert drawn.get_marker() == "^"
        assert np.asarray(drawn.get_ydata()).item() == axes.get_ylim()[1] < 0.01
        inside = [one for one in axes.lines if one.get_marker() == "o"]
        assert [np.asarray(one.get_ydata()).item() for one in inside] == [
            candidate.verdicts[0].difference
            for candidate in second.candidates
            if candidate is not far and candidate.step != second.accepted_step
        ]

    def test_minibatch_losses_are_averaged_in_blocks_never_dropped(self) -> None:
        records = chain([["like"]], steps=3 * losses_module.MOST_POINTS, evaluations=2)
        (axes,) = losses_against_optima(records).axes
        y = np.asarray(line(axes, losses_module.TRAIN).get_ydata())[:-1]
        assert len(y) == losses_module.MOST_POINTS
        assert y[0] == pytest.approx(np.mean([row.losses["like"] for row in records[0].rows[:3]]))
        assert y.mean() == pytest.approx(np.mean([row.losses["like"] for row in records[0].rows]))

    @pytest.mark.parametrize(
        ("difference", "title"),
        [
            (0.0002, "like held: +0.0002 ≤ 0.0011 allowed"),
            (-0.0002, "like held: −0.0002 ≤ 0.0011 allowed"),
            (0.02, "like not held: +0.0200 > 0.0011 allowed"),
        ],
    )
    def test_titles_say_whether_the_guarantee_held(self, difference: float, title: str) -> None:
        first, second = chain(TWO)
        figure = losses_against_optima([first, replace(second, verdicts=(verdict("like", difference, 0.0011),))])
        assert figure.axes[0].get_title(loc="left") == title
        headline = figure.get_suptitle()
        assert headline.endswith("the guarantee held" if difference < 0.01 else "like (+0.0200 > 0.0011)")

    def test_a_stage_that_gained_nothing_says_so(self) -> None:
        figure = losses_against_optima(chain(THREE, idle=[1, 2]))
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert titles[2].endswith("allowed; stage 2 gained nothing")
        assert titles[4] == "relevance: stage 3 gained nothing"

    def test_of_the_joint_start_every_panel_shows_losses_and_no_candidates(self) -> None:
        records = chain(THREE, steps=40, evaluations=4, joint=True)
        figure = losses_against_optima(records)
        histories = [figure.axes[0], figure.axes[2], figure.axes[4]]
        for place, (axes, task) in enumerate(zip(histories, ("pay", "amount", "relevance"), strict=True)):
            assert "stage 0: joint" in texts(axes)
            steps = np.asarray(line(axes, losses_module.TRAIN).get_xdata())
            assert steps[0] == 1
            before = lines(axes, losses_module.UNSOLVED)
            assert len(before) == place + 1  # stage 0, and the stages between it and the task's own
            assert list(np.asarray(before[0].get_ydata())) == [one.losses[task] for one in records[0].candidates]
            assert np.asarray(line(axes, losses_module.FEASIBLE).get_xdata()).min() == 40 * (place + 1)
        assert figure.axes[4].get_title(loc="left").endswith("on valid in stage 3")

    def test_of_the_joint_start_a_strip_shows_that_all_tasks_are_minimised(self) -> None:
        (axes,) = losses_against_optima(chain(IN_FOUR_LEVELS, steps=40, evaluations=4, joint=True)).axes
        solving = [one.get_paths()[0].get_extents() for one in axes.collections if not isinstance(one, QuadMesh)]
        boxes = [(box.x0, box.x1, box.y0, box.y1) for box in solving if box.width]
        assert boxes == [
            (0, 40, -0.5, 63.5),
            *((40 * (level + 1), 40 * (level + 2), 16 * level - 0.5, 16 * level + 15.5) for level in range(4)),
        ]

    def test_axes_and_legend_name_what_is_drawn(self) -> None:
        figure = losses_against_optima(chain(THREE, idle=[1]))
        assert figure.axes[0].get_ylabel() == "loss (nats)"
        assert figure.axes[4].get_xlabel() == "optimisation steps"
        assert losses_module.OPTIMUM in legend(figure)
        assert len(legend(figure)) == len(set(legend(figure)))

    def test_64_tasks_make_a_strip_with_a_row_each(self) -> None:
        records = chain(IN_FOUR_LEVELS, steps=40, evaluations=4, idle=[3])
        figure = losses_against_optima(records)
        (axes,) = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == [
            task for level in IN_FOUR_LEVELS for task in level
        ]
        (mesh,) = [one for one in axes.collections if isinstance(one, QuadMesh)]
        shares: np.ma.MaskedArray[Any, Any] = np.ma.asarray(mesh.get_array()).reshape(64, 16)
        assert np.ma.getmaskarray(shares)[:, :4].all()  # nothing is protected in stage 1
        assert not np.ma.getmaskarray(shares)[:16, 4:].any()
        assert np.ma.getmaskarray(shares)[16:, 4:8].all()
        last = {one.task: one for one in records[3].candidates[-1].verdicts}
        assert {task for task, share in zip(last, shares[:48, -1], strict=True) if share > 1} == {
            task for task, one in last.items() if not one.held
        }
        assert axes.get_title(loc="left").startswith("Losses against their optima: all 48 guarantees held\nclosest")
        assert list(np.asarray(line(axes, KEPT).get_xdata())) == [120]

    def test_of_64_tasks_recorded_in_part_the_accepted_models_are_drawn(self) -> None:
        records = [trim_curves(one) for one in chain(SIXTY_FOUR, steps=10, evaluations=2)]
        figure = losses_against_optima(records)
        (mesh,) = [one for one in figure.axes[0].collections if isinstance(one, QuadMesh)]
        shares: np.ma.MaskedArray[Any, Any] = np.ma.asarray(mesh.get_array()).reshape(64, 64)
        assert np.ma.getmaskarray(shares).tolist() == np.tri(64, dtype=bool).tolist()
        assert len(legend(figure)) <= 9

    def test_a_difference_exactly_at_the_limit_is_drawn_as_within_it(self) -> None:
        names = [f"t{index}" for index in range(13)]
        first, second = chain([names, ["last"]], steps=10, evaluations=1)
        exact = tuple(verdict(name, 0.001, 0.001) for name in names)
        second = replace(second, candidates=(second.candidates[0], replace(second.candidates[1], verdicts=exact)))
        (axes,) = losses_against_optima([first, second]).axes
        (mesh,) = [one for one in axes.collections if isinstance(one, QuadMesh)]
        assert np.ma.asarray(mesh.get_array()).max() < 1


class TestStyle:
    def test_stages_are_consecutive(self) -> None:
        records = [record(0, ["a"], steps=10, accepted_step=4), record(1, ["b"], ["a"], steps=5, accepted_step=0)]
        assert [(span.start, span.end, span.accepted) for span in spans(records)] == [(0, 10, 4), (10, 15, 10)]

    def test_a_task_keeps_its_stroke_when_the_chain_grows(self) -> None:
        records = chain(SIXTY_FOUR, steps=4, evaluations=1)
        some, more = strokes(records[:9]), strokes(records)
        assert all(more[task] == stroke for task, stroke in some.items())
        assert len({(stroke.colour, stroke.dashes) for stroke in list(more.values())[:28]}) == 28

    def test_spread_keeps_order_and_distance_and_moves_no_label_that_has_room(self) -> None:
        placed = spread([0.5, 0.9, 0.51, 0.0], 0.1)
        assert placed[1] == 0.9
        assert placed[3] == 0.0
        assert placed[0] == pytest.approx(0.455)
        assert placed[2] == pytest.approx(0.555)
        crowd = sorted(spread([0.2] * 5, 0.1))
        assert np.diff(crowd) == pytest.approx(0.1)
        assert np.mean(crowd) == pytest.approx(0.2)

    def test_dollars_and_signs_are_literal_and_hyphens_stay(self) -> None:
        assert escape_mathtext("a-b $x$ -0.5 (-1)") == r"a-b \$x\$ −0.5 (−1)"

    def test_text_shrinks_to_the_available_width(self) -> None:
        assert fit_font_size("short", 11, 9) == 11
        assert 6 <= fit_font_size("x" * 120, 11, 9) < 11
        assert fit_font_size("x" * 1000, 11, 9) == 6
