"""Progress on a terminal and in a log, from the events of a chain."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from rich.console import Console

from nmt.orchestrator.terminal.chain_bars import ChainBars
from nmt.orchestrator.terminal.chain_lines import ChainLines
from nmt.orchestrator.terminal.output import TextOutput
from nmt.orchestrator.terminal.stage_line import LINE_SECONDS, STEP_SECONDS
from nmt.trainers.records import Candidate, Row, StageRecord
from nmt.trainers.reporter import Evaluated, Event, Progress, StageFinished, StageStarted
from tests.orchestrator._records import chain, nulled, record, started, verdict

ESCAPE = "\x1b"
LEVELS = [["pay"], ["amount"], ["relevance"]]


@dataclass
class Screen:
    """A console that is recorded, with a clock that stands until it is told to move."""

    width: int = 100
    height: int = 24
    terminal: bool = False
    now: float = 0.0
    stream: io.StringIO = field(default_factory=io.StringIO)

    def console(self) -> Console:
        return Console(
            file=self.stream,
            width=self.width,
            height=self.height,
            force_terminal=self.terminal,
            get_time=lambda: self.now,
            _environ={"TERM": "xterm"},
        )

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def frame(bars: ChainBars, screen: Screen) -> list[str]:
    """What the bars look like now, line by line, without colours."""
    console = Console(file=io.StringIO(), width=screen.width, height=screen.height, get_time=lambda: screen.now)
    with console.capture() as capture:
        console.print(bars.table())
    return capture.get().splitlines()


def words(text: str) -> list[str]:
    return text.split()


def row(step: int, losses: dict[str, float], multipliers: dict[str, float] | None = None) -> Row:
    return Row(step, losses, {}, multipliers or {})


def candidate(
    step: int, losses: dict[str, float], *, difference: float | None = None, allowed: float = 0.0011
) -> Candidate:
    judged = () if difference is None else (verdict("pay", difference, allowed),)
    return Candidate(step, losses, {}, judged, all(one.held for one in judged), False)


def second_stage(difference: float = 0.0003) -> list[Event]:
    """Stage 2, after 60 of 240 steps."""
    losses = {"pay": 0.5, "amount": 0.87}
    return [
        StageStarted(1, 2, "key1", ("amount",), {"amount": 1.0}, ("pay",), 240),
        Evaluated(1, candidate(0, losses, difference=0.0, allowed=0.0)),
        Progress(1, 59, (row(58, {"pay": 0.5, "amount": 0.8}), row(59, {"pay": 0.5, "amount": 0.9}, {"pay": 1.02}))),
        Evaluated(1, candidate(60, losses, difference=difference)),
    ]


def bars_after(events: Sequence[Event], screen: Screen) -> ChainBars:
    """A display that has seen the events, one second apart."""
    display = ChainBars(LEVELS, screen.console())
    for event in events:
        display.show(event)
        screen.now += 1.0
    return display


def interrupt(display: ChainBars | ChainLines, screen: Screen) -> None:
    with display:
        for event in second_stage():
            display.show(event)
        screen.now += 61
        raise KeyboardInterrupt


class TestBars:
    def test_a_line_per_stage_with_loss_violation_multiplier_and_time(self) -> None:
        screen = Screen(terminal=True)
        header, first, second, third = frame(bars_after(second_stage(), screen), screen)
        assert header.split() == words("stage step loss valid closest to its limit λ time left")
        assert first.split() == ["1/3", "pay", "waiting"]
        assert third.split() == ["3/3", "relevance", "waiting"]
        assert second.split()[:2] == ["2/3", "amount"]
        assert "━" in second
        # 60 steps in the 3 s since the first evaluation: 180 more take at most 9 s.
        assert second.split()[-10:] == words("60/240 0.850 0.870 pay +0.0003/0.0011 ✓ 1.02 0:04 ≤ 0:09")

    def test_a_broken_limit_is_marked(self) -> None:
        screen = Screen(terminal=True)
        assert "pay +0.0020/0.0011 ✗" in frame(bars_after(second_stage(0.002), screen), screen)[2]

    @pytest.mark.parametrize("width", [80, 100, 120])
    def test_every_width_shows_the_numbers_whole(self, width: int) -> None:
        screen = Screen(terminal=True, width=width)
        drawn = frame(bars_after(second_stage(), screen), screen)
        assert all(len(line) <= width for line in drawn)
        for text in ("amount", "60/240", "0.850", "pay +0.0003/0.0011 ✓", "1.02", "≤ 0:09"):
            assert text in drawn[2]
        assert ("valid" in drawn[0]) == (width >= 100)

    def test_finished_stages_say_how_they_ended(self) -> None:
        screen = Screen(terminal=True)
        losses = {
            "train": {"pay": 0.48, "amount": 0.88, "relevance": 0.66},
            "valid": {"pay": 0.5, "amount": 0.9, "relevance": 0.7},
        }
        events: list[Event] = [
            StageFinished(record(0, ["pay"], losses=losses, steps=44), reused=True),
            StageFinished(record(1, ["amount"], ["pay"], losses=losses, steps=16), reused=False),
            StageFinished(record(2, ["relevance"], ["pay", "amount"], losses=losses, accepted_step=0), reused=False),
        ]
        _, first, second, third = frame(bars_after(events, screen), screen)
        assert first.split()[-5:] == words("44 0.480 0.500 0:02 reused")
        assert second.split()[-6:] == words("16 0.880 0.900 1.00 0:02 done")
        assert third.split()[-8:] == words("100 0.660 0.700 1.00 1.00 0:02 no gain")

    def test_stage_0_is_called_joint_and_shows_the_weighted_sum(self) -> None:
        screen = Screen(terminal=True)
        display = ChainBars([(), *LEVELS], screen.console())
        _, joint, first, _, third = frame(display, screen)
        assert joint.split() == ["0/3", "joint", "waiting"]
        assert (first.split()[0], third.split()[0]) == ("1/3", "3/3")
        weights = {"pay": 0.65, "amount": 0.175, "relevance": 0.175}
        display.show(StageStarted(0, 0, "key", (), weights, (), 240))
        display.show(Progress(0, 60, (row(60, {"pay": 0.5, "amount": 1.0, "relevance": 2.0}),)))
        assert "0.850" in frame(display, screen)[1].split()  # 0.65 · 0.5 + 0.175 · 1 + 0.175 · 2
        losses = {split: {"pay": 1.0, "amount": at, "relevance": 2.0} for split, at in (("train", 0.0), ("valid", 1.0))}
        joint_start = record(0, (), number=0, objective=weights, losses=losses, steps=44)
        display.show(StageFinished(joint_start, reused=False))
        assert frame(display, screen)[1].split()[-5:] == words("44 1.000 1.175 0:02 done")

    def test_of_many_multipliers_the_largest_is_shown(self) -> None:
        screen = Screen(terminal=True)
        levels = [["a", "b", "c"], ["d"]]
        display = ChainBars(levels, screen.console())
        display.show(StageStarted(1, 2, "key", ("d",), {"d": 1.0}, ("a", "b", "c"), 10))
        display.show(Progress(1, 1, (row(1, {"d": 0.5}, {"a": 1.0, "b": 27.44, "c": 0.2}),)))
        header, _, second = frame(display, screen)
        assert "max λ" in header
        assert "27.4" in second.split()

    def test_the_time_left_is_not_known_until_a_step_is_taken(self) -> None:
        screen = Screen(terminal=True)
        bars = ChainBars(LEVELS, screen.console())
        bars.show(StageStarted(0, 1, "key", ("pay",), {"pay": 1.0}, (), 1200))
        assert frame(bars, screen)[1].rstrip().endswith("–")

    def test_64_stages_are_shown_around_the_one_under_way(self) -> None:
        screen = Screen(terminal=True, height=16)
        records = chain([[f"assay_{index:02}"] for index in range(64)], steps=4, evaluations=1)
        display = ChainBars([one.level for one in records], screen.console())
        for one in records[:30]:
            display.show(StageFinished(one, reused=False))
        display.show(started(records[30], max_steps=10))
        drawn = frame(display, screen)
        assert len(drawn) <= screen.height
        assert [line.split()[0] for line in drawn[1:]] == [f"{number}/64" for number in range(25, 37)]

    def test_a_retried_stage_starts_anew(self) -> None:
        screen = Screen(terminal=True)
        drawn = frame(
            bars_after(
                [*second_stage(), StageStarted(1, 2, "key1", ("amount",), {"amount": 1.0}, ("pay",), 240)], screen
            ),
            screen,
        )
        assert "0/240" in drawn[2].split()
        assert "0.850" not in drawn[2]

    def test_a_stage_that_goes_on_in_its_middle_is_timed_from_there(self) -> None:
        screen = Screen(terminal=True)
        events: list[Event] = [
            StageStarted(0, 1, "key0", ("pay",), {"pay": 1.0}, (), 1000),
            Progress(0, 500, ()),
            Progress(0, 510, ()),
        ]
        drawn = frame(bars_after(events, screen), screen)  # 10 steps in 2 s
        assert drawn[1].rstrip().endswith("≤ 1:38")

    def test_after_a_retry_what_this_run_trained_is_still_its_own(self) -> None:
        screen = Screen(terminal=True)
        found = record(0, ["pay"])
        drawn = frame(
            bars_after([StageFinished(found, reused=False), StageFinished(found, reused=True)], screen), screen
        )
        assert drawn[1].rstrip().endswith("done")

    def test_a_display_opened_late_copes(self) -> None:
        screen = Screen(terminal=True)
        drawn = frame(bars_after(second_stage()[2:], screen), screen)
        assert "60/0" in drawn[2].split()
        assert drawn[2].rstrip().endswith("–")

    def test_alive_it_ends_with_the_last_state_on_the_screen(self) -> None:
        screen = Screen(terminal=True)
        display = ChainBars(LEVELS, screen.console())
        with display:
            for event in second_stage():
                display.show(event)
            display.show(StageFinished(record(1, ["amount"], ["pay"]), reused=False))
        assert ESCAPE in screen.stream.getvalue()
        assert "done" in screen.stream.getvalue()
        assert screen.stream.getvalue().endswith("\n\x1b[?25h")  # the cursor is back

    def test_an_error_leaves_the_stage_as_stopped(self) -> None:
        screen = Screen(terminal=True)
        display = ChainBars(LEVELS, screen.console())
        with pytest.raises(KeyboardInterrupt):
            interrupt(display, screen)
        assert frame(display, screen)[2].rstrip().endswith("stopped")
        assert "60/240" in frame(display, screen)[2]


class TestLines:
    def test_a_line_per_event_worth_reading(self) -> None:
        screen = Screen()
        with TextOutput(screen.console()).chain(LEVELS) as display:
            for event in second_stage():
                display.show(event)
                screen.now += LINE_SECONDS
            display.show(
                StageFinished(
                    record(
                        1,
                        ["amount"],
                        ["pay"],
                        verdicts=[verdict("pay", 0.0003, 0.0011)],
                        losses={"valid": {"pay": 0.5, "amount": 0.86}},
                        multipliers={"pay": 1.5},
                        steps=120,
                        accepted_step=60,
                    ),
                    reused=False,
                )
            )
        assert screen.lines == [
            "stage 2/3 amount: started, at most 240 steps, protects pay",
            "stage 2/3 amount: step 0/240; loss – train, 0.870 valid; pay 0.0000 ≤ 0.0000; 0:05, – left",
            "stage 2/3 amount: step 60/240; loss 0.850 train, 0.870 valid; pay +0.0003 ≤ 0.0011; λ pay 1.02; "
            "0:15, ≤ 0:30 left",
            "stage 2/3 amount: done after step 120 (plateau); accepted step 60; loss 0.860 valid; "
            "pay +0.0003 ≤ 0.0011; λ pay 1.50; 0:02",
        ]

    def test_reused_and_idle_stages_are_told_apart(self) -> None:
        screen = Screen()
        with TextOutput(screen.console()).chain(LEVELS) as display:
            display.show(StageFinished(record(0, ["pay"]), reused=True))
            display.show(StageFinished(record(1, ["amount"], ["pay"], accepted_step=0), reused=False))
        assert screen.lines == [
            "stage 1/3 pay: reused key0; accepted step 60; loss 0.500 valid; 0:02",
            "stage 2/3 amount: done after step 100 (plateau); gained nothing, start kept; loss 0.500 valid; "
            "λ pay 1.00; 0:02",
        ]

    def test_a_chain_that_starts_jointly_counts_its_stages_from_0(self) -> None:
        screen = Screen()
        with TextOutput(screen.console()).chain([(), ["pay"], ["amount"]]) as display:
            for one in chain([["pay"], ["amount"]], steps=80, joint=True):
                display.show(started(one))
                display.show(StageFinished(one, reused=False))
        assert [line.partition(":")[0] for line in screen.lines[::2]] == [
            "stage 0/2 joint",
            "stage 1/2 pay",
            "stage 2/2 amount",
        ]
        assert screen.lines[0] == "stage 0/2 joint: started, at most 80 steps"
        assert screen.lines[4] == "stage 2/2 amount: started, at most 80 steps, protects pay"

    def test_evaluations_in_quick_succession_are_not_all_printed(self) -> None:
        screen = Screen()
        with TextOutput(screen.console()).chain(LEVELS) as display:
            display.show(StageStarted(0, 1, "key0", ("pay",), {"pay": 1.0}, (), 1000))
            for step in range(100):
                display.show(Evaluated(0, candidate(step, {"pay": 0.5})))
                screen.now += 0.5
            display.show(StageFinished(record(0, ["pay"]), reused=False))
        assert len(screen.lines) == 2 + (100 * 0.5) // LINE_SECONDS - 1

    def test_a_stage_without_evaluations_shows_a_sign_of_life(self) -> None:
        screen = Screen()
        with TextOutput(screen.console()).chain(LEVELS) as display:
            display.show(StageStarted(0, 1, "key0", ("pay",), {"pay": 1.0}, (), 1000))
            for step in range(1, 121):
                screen.now += STEP_SECONDS / 60
                display.show(Progress(0, step, (row(step, {"pay": 0.5}),)))
        assert screen.lines == [
            "stage 1/3 pay: started, at most 1000 steps",
            "stage 1/3 pay: step 60/1000; loss 0.500 train; 1:00, ≤ 15:40 left",
            "stage 1/3 pay: step 120/1000; loss 0.500 train; 2:00, ≤ 14:40 left",
            "stage 1/3 pay: stopped after step 120, 2:00",
        ]

    def test_no_control_codes_and_no_wrapping(self) -> None:
        screen = Screen(width=20)
        records = chain([["a", "b", "c"], ["d"]])
        with TextOutput(screen.console()).chain([one.level for one in records]) as display:
            for one in records:
                display.show(started(one))
                for found in one.candidates:
                    screen.now += LINE_SECONDS
                    display.show(Evaluated(one.stage, found))
                display.show(StageFinished(one, reused=False))
        assert ESCAPE not in screen.stream.getvalue()
        assert "\r" not in screen.stream.getvalue()
        assert all(line.startswith("stage ") for line in screen.lines)
        assert len(screen.lines) == 2 * (1 + 9 + 1)

    def test_an_error_is_followed_by_how_far_it_came(self) -> None:
        screen = Screen()
        with pytest.raises(KeyboardInterrupt):
            interrupt(TextOutput(screen.console()).chain(LEVELS), screen)
        assert screen.lines[-1] == "stage 2/3 amount: stopped after step 60, 1:01"


@pytest.mark.parametrize("terminal", [True, False])
def test_numbers_that_are_not_finite_are_shown_as_unknown(terminal: bool) -> None:
    screen = Screen(terminal=terminal)
    records = chain([["pay"], ["amount"], ["relevance"]])
    nan = {"pay": math.nan, "amount": math.nan}
    bad = replace(verdict("pay", 0.0, 0.0), difference=math.nan, allowed=math.nan, held=False)
    events: list[Event] = [StageFinished(nulled(one), reused=True) for one in records]
    events += [
        StageStarted(1, 2, "key1", ("amount",), {"amount": 1.0}, ("pay",), 240),
        Progress(1, 1, (row(1, nan, {"pay": math.nan}),)),
        Evaluated(1, Candidate(1, nan, {}, (bad,), False, False)),
        Evaluated(1, Candidate(1, {}, {}, (bad,), False, False)),
        Progress(1, 2, ()),
    ]
    with TextOutput(screen.console()).chain(LEVELS) as display:
        for event in events:
            display.show(event)
            screen.now += LINE_SECONDS
    drawn = frame(display, screen) if isinstance(display, ChainBars) else []
    assert bool(drawn) == terminal
    text = "\n".join([*drawn, *screen.lines])
    assert "nan" not in text
    assert "None" not in text
    assert "not finite" in text


def test_a_record_keeps_its_type() -> None:
    assert isinstance(nulled(record(0, ["pay"])), StageRecord)
