"""The runner of the benchmarks on tiny sizes, the equality of rivals, and the arithmetic."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nmt.experiments.benchmarks.__main__ import VERSION, main
from nmt.experiments.benchmarks.chain_cost import Line
from nmt.experiments.benchmarks.harness import pairing
from nmt.experiments.benchmarks.harness.options import Options
from nmt.experiments.benchmarks.harness.page import HEAD, markdown
from nmt.experiments.benchmarks.harness.pairing import Paired, Timing, measure
from nmt.experiments.benchmarks.harness.result import Result, Row
from nmt.experiments.benchmarks.run_times import STEPS as STEPS_OF_A_RUN
from nmt.experiments.benchmarks.run_times import split_time
from nmt.experiments.benchmarks.steps.bare_loop import BareLoop
from nmt.experiments.benchmarks.steps.call_log import Calls
from nmt.experiments.benchmarks.steps.cooper_loop import CooperLoop
from nmt.experiments.benchmarks.steps.problem import PAPER, Problem, binary_tasks, write_synthetic
from nmt.experiments.benchmarks.steps.stage_steps import StageSteps
from nmt.experiments.benchmarks.steps.step import problem
from nmt.experiments.benchmarks.steps.tasks import many_tasks
from nmt.experiments.benchmarks.suite import BENCHMARKS, SCRIPTS, select
from nmt.trainers.data.order import epoch_order
from nmt.trainers.spec.chain_spec import ModelSpec

STEPS = 12
WITHOUT_RAY = [name for name, one in BENCHMARKS.items() if not one.ray]
STILL = replace(PAPER, eta_lambda=1e-12, eta_theta=1e-2, l2_embedding=1e-3)
"""λ stays 1, so that the weights of the combination are equal."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Restore the number of threads, which the runner sets."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


class TestRunner:
    @pytest.mark.usefixtures("one_thread")
    @pytest.mark.parametrize("name", WITHOUT_RAY)
    def test_it_measures_and_writes_down(
        self, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pairing, "BLOCK_SECONDS", 0.0)  # blocks of one step
        main([name, "--quick", "--rounds", "1", "--json", str(tmp_path / "found.json")])
        document = json.loads((tmp_path / "found.json").read_text())
        assert set(document) == {"version", "began", "quick", "machine", "benchmarks"}
        assert (document["version"], document["quick"]) == (VERSION, True)
        assert document["machine"]["cores"] > 0
        (found,) = document["benchmarks"]
        assert set(found) == {"name", "title", "rows", "tables", "conditions", "notes", "seconds"}
        assert found["name"] == name
        assert found["rows"] or found["tables"]
        for row in found["rows"]:
            assert set(row) == {*Row.__dataclass_fields__, "met"}
            assert all(0 < row[key] < math.inf for key in ("ratio", "lower", "upper", "ours", "theirs"))
            assert row["rounds"] == 1
            assert row["met"] == (None if row["aim"] is None else row["ratio"] <= row["aim"])
        for table in found["tables"]:
            assert table["lines"]
            assert all(len(line) == len(table["head"]) for line in table["lines"])
        printed = capsys.readouterr().out
        assert printed.startswith(f"## {name}: ")
        assert all(row["name"] in printed and row["rival"] in printed for row in found["rows"])

    def test_an_unknown_name_is_refused_with_those_that_are_allowed(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            main(["stpe"])
        assert refused.value.code == 2
        message = capsys.readouterr().err
        assert "no benchmark 'stpe' (did you mean 'step'?)" in message
        assert ", ".join(BENCHMARKS) in message

    def test_a_script_is_told_apart(self) -> None:
        with pytest.raises(ValueError, match=r"is a script: python -m experiments\.benchmarks promise"):
            select(["promise"])
        assert all(find_spec(f"nmt.experiments.benchmarks.{name}") for name in SCRIPTS)

    def test_a_script_has_its_own_arguments(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["benchmarks"])
        with pytest.raises(SystemExit) as ended:
            main(["promise", "--help"])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith("usage: python -m experiments.benchmarks promise ")
        assert "--seeds" in shown
        assert "--rounds" not in shown  # the runner's

    def test_rounds_must_be_some(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["step", "--rounds", "0"])
        assert "--rounds must be at least 1, found 0" in capsys.readouterr().err

    def test_help_names_benchmarks_and_scripts(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--help"])
        shown = capsys.readouterr().out
        assert all(name in shown for name in (*BENCHMARKS, *SCRIPTS))


class TestRivals:
    """With equal weights, rivals reach the same θ."""

    @pytest.mark.parametrize("stated", [lambda options: problem(options, STILL), lambda o: many_tasks(o, 8, STILL)])
    def test_the_bare_loop_takes_the_same_steps(self, stated: Callable[[Options], Problem], folder: Path) -> None:
        asked = stated(Options(folder, quick=True))
        ours, bare = StageSteps(asked), in_our_order(asked)
        start = parameters(ours.model)
        torch.testing.assert_close(parameters(bare.model), start, rtol=0, atol=0)
        for _ in range(STEPS):
            ours.step()
            bare.step()
        assert float((parameters(ours.model) - start).abs().max()) > 0.05
        torch.testing.assert_close(parameters(ours.model), parameters(bare.model), rtol=1e-4, atol=1e-5)

    def test_fixed_weights_through_our_stepper_are_the_same_too(self, folder: Path) -> None:
        asked = many_tasks(Options(folder, quick=True), 8, STILL)
        ours, fixed = StageSteps(asked), StageSteps(replace(asked, training=replace(STILL, method="weighted_sum")))
        for _ in range(STEPS):
            ours.step()
            fixed.step()
        torch.testing.assert_close(parameters(ours.model), parameters(fixed.model), rtol=1e-4, atol=1e-5)

    def test_cooper_takes_the_same_steps(self, tmp_path: Path) -> None:
        """Cooper does not rescale its sum, a factor that Adam ignores while λ changes slowly."""
        place = write_synthetic(tmp_path / "rows", 3, 200, numeric=6)
        rates = replace(STILL, eta_lambda=0.05, l2_embedding=0.0)
        model = ModelSpec("shared_bottom", {"bottom_units": [8], "tower_units": [4]})
        # One batch an epoch, so that the order of rows does not matter.
        asked = Problem(place, binary_tasks(3), model, 200, rates)
        ours, cooper = StageSteps(asked), CooperLoop(asked)
        for _ in range(STEPS):
            ours.step()
            cooper.step()
        assert float((cooper.multiplier.weight.detach() - 1).abs().max()) > 0.01
        torch.testing.assert_close(
            ours.multipliers.values.float(), cooper.multiplier.weight.detach(), rtol=1e-3, atol=1e-4
        )
        torch.testing.assert_close(parameters(ours.model), parameters(cooper.model), rtol=1e-2, atol=1e-3)

    def test_processes_divide_a_global_batch(self, folder: Path) -> None:
        asked = problem(Options(folder, quick=True))
        whole = BareLoop(asked, order=lambda _: torch.arange(600)).batch()
        loops = [BareLoop(asked, order=lambda _: torch.arange(600)) for _ in range(2)]
        for rank, loop in enumerate(loops):
            loop._rank, loop._workers = rank, 2
        parts = [loop.batch() for loop in loops]
        assert [part.rows for part in parts] == [32, 32]
        together = torch.stack([part.labels for part in parts], 1).flatten(0, 1)
        torch.testing.assert_close(together, whole.labels, rtol=0, atol=0)


class TestArithmetic:
    def test_a_ratio_is_that_of_pairs(self) -> None:
        """A slow phase of the machine in one round does not change its ratio."""
        found = Paired.of((1.1, 11.0, 2.4), (1.0, 10.0, 2.0))
        assert (found.median, found.lower, found.upper) == pytest.approx((1.1, 1.1, 1.15))
        with pytest.raises(ValueError, match="found 2 and 1"):
            Paired.of((1.0, 2.0), (1.0,))

    def test_every_rival_takes_its_steps_in_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a warm-up step each, blocks of one step, in an order that changes from block to block."""
        monkeypatch.setattr(pairing, "BLOCK_SECONDS", 0.0)
        taken: list[str] = []
        rivals = {name: partial(taken.append, name) for name in "ab"}
        found = measure(rivals, rounds=2, blocks=2, warm_up=1)
        assert {name: len(timing.seconds) for name, timing in found.items()} == {"a": 2, "b": 2}
        assert "".join(taken) == "ab" + "abba" + "baab"

    def test_a_row_says_whether_its_aim_is_met(self) -> None:
        row = Row.of("ours", "theirs", Timing((1.0,), (1.0,)), Timing((2.0,)), 0.4)
        assert (row.ratio, row.processor_ratio, row.met) == (0.5, None, False)
        shown = markdown(Result("name", "title", [row]))
        assert "| ours | theirs | 0.500 | 0.500 to 0.500 | – | 1000.0 ms | 2000.0 ms | 1 | ≤ 0.4 | no |" in shown
        assert "| " + " | ".join(HEAD) + " |" in shown

    def test_a_straight_line_is_found(self) -> None:
        line = Line.through((2, 4, 8), (7.0, 13.0, 25.0))
        assert (line.slope, line.intercept, line.determination) == pytest.approx((3.0, 1.0, 1.0))
        assert line.residual == pytest.approx(0, abs=1e-9)
        assert Line.through((2, 4, 8), (4.0, 16.0, 64.0)).residual > 0.2

    def test_the_parts_of_a_run_add_up_to_it(self) -> None:
        """Two stages of a run from second 100 to second 130."""
        kinds = ({"start": 1.0, "steps": 4.0}, {"start": 1.0, "steps": 3.0, "evaluation": 2.0})
        records: Any = [
            SimpleNamespace(key=str(place), seconds=seconds, wall_seconds=sum(seconds.values()))
            for place, seconds in enumerate(kinds)
        ]
        manifest: Any = SimpleNamespace(started=102.0, wall_seconds=26.0)
        ends = [110.0 + records[0].wall_seconds, 116.5 + records[1].wall_seconds]
        parts = split_time(manifest, records, ends, 100.0, 130.0)
        assert list(parts.values()) == pytest.approx([2.0, 8.0, 2.0, 7.0, 2.0, 1.5, 5.5, 2.0])
        assert sum(parts.values()) == pytest.approx(30.0)
        assert parts[STEPS_OF_A_RUN] == 7.0

    def test_steps_are_the_time_between_training_passes(self) -> None:
        calls = Calls(0, 1, 15, (0.0, 1.0, 3.0, 4.0, 9.0, 11.0), (True, True, True, False, True, True))
        assert calls.last_steps(2) == [6.0, 2.0]
        assert calls.median_step() == 2.0
        with pytest.raises(ValueError, match="5 training passes were logged; 5 steps need 6"):
            calls.last_steps(5)


def in_our_order(asked: Problem) -> BareLoop:
    """Return the bare loop on the minibatches of our feed."""
    rows = asked.feed().examples("train")
    return BareLoop(asked, lambda epoch: torch.from_numpy(epoch_order(rows, asked.training.seed, 1, epoch)))


def parameters(model: torch.nn.Module) -> torch.Tensor:
    """Return all parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()
