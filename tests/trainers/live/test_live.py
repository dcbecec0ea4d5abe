"""A chain that protects the live model: what the live model says on today's data, and what no stage gives up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import Predictor
from nmt.trainers.live.columns import match_columns
from nmt.trainers.live.network import LiveNetwork
from nmt.trainers.live.start import start_from, why_not_start
from nmt.trainers.live.store import digest_of
from nmt.trainers.models.build import build_model
from nmt.trainers.reporter import StageFinished
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.live import Live
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.terms import Terms
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._problems import Recorder
from tests.trainers.live._days import NETWORK, TASKS, Day, day, live_of, rows, spec_of, train


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return day(tmp_path_factory.mktemp("days") / "yesterday", rows(20))


@pytest.fixture(scope="module")
def champion(yesterday: Day, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train(spec_of(yesterday, eta_theta=0.03), yesterday, tmp_path_factory.mktemp("champion"))[1]


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """New users come first in the vocabulary, and the statistics of the numbers moved."""
    return day(tmp_path_factory.mktemp("days") / "today", rows(50, seed=1))


def outputs_on(prepared: Day, model: nn.Module) -> dict[str, Tensor]:
    """Outputs of a model that reads these data, on all test rows."""
    feed = MemoryFeed(str(prepared.folder), ["click", "buy"], 64, 0)
    with torch.no_grad():
        found = [model.eval()(batch) for batch in feed.scan("test")]
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def as_live(model: TrainedModel, prepared: Day) -> LiveNetwork:
    return LiveNetwork(model, match_columns(model, prepared.schema, prepared.encoder))


class TestNetwork:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"categorical": ["shop", "user"], "numeric": ["age", "price"]},
            {"log1p": ["age"]},
            {"log1p": []},
        ],
        ids=["same columns", "other order", "another logarithm", "no logarithm"],
    )
    def test_encoded_rows_of_today_give_what_the_raw_rows_give(
        self, champion: TrainedModel, tmp_path: Path, options: dict[str, list[str]]
    ) -> None:
        raw = rows(50, seed=1)
        prepared = day(tmp_path / "day", raw.set_column(4, "age", pa.array(np.abs(np.asarray(raw["age"])))), **options)
        chosen = prepared.raw.filter(pa.array(np.asarray(prepared.raw["split"]) == "test"))
        expected = Predictor(champion).outputs(champion.encoder.encode(chosen))
        found = outputs_on(prepared, as_live(champion, prepared))
        for task in TASKS:
            torch.testing.assert_close(found[task.name], expected[task.name], atol=2e-5, rtol=1e-5)

    def test_a_column_that_today_lacks_is_named(self, champion: TrainedModel, tmp_path: Path) -> None:
        prepared = day(tmp_path / "day", rows(20), numeric=["price"])
        with pytest.raises(ValueError, match=r"the live model reads the numeric columns age, which today's data lack"):
            as_live(champion, prepared)

    def test_a_packed_column_of_another_width_is_refused(self, champion: TrainedModel, today: Day) -> None:
        other = replace(today.schema, packed={"bits": 16})
        with pytest.raises(ValueError, match="bits 8 and 16 bits"):
            match_columns(champion, other, today.encoder)


class TestStart:
    def test_the_first_model_gives_what_the_live_one_gives_new_tokens_included(
        self, champion: TrainedModel, today: Day
    ) -> None:
        live = as_live(champion, today)
        model = build_model(NETWORK, today.schema, TASKS, 0)
        columns = match_columns(champion, today.schema, today.encoder)
        start_from(model, live.network, columns, list(champion.schema.categorical.values()))
        found, expected = outputs_on(today, model), outputs_on(today, live)
        for task in TASKS:
            torch.testing.assert_close(found[task.name], expected[task.name], atol=1e-6, rtol=1e-6)

    def test_why_not(self, champion: TrainedModel, today: Day, tmp_path: Path) -> None:
        def reason(prepared: Day = today, network: ModelSpec = NETWORK, tasks: Sequence[object] = TASKS) -> str:
            return why_not_start(champion, network, tasks, prepared.schema, prepared.encoder)  # type: ignore[arg-type]

        assert reason() == ""
        assert "its network is shared_bottom" in reason(network=ModelSpec("scorer", {}))
        assert reason(tasks=TASKS[:1]).startswith("its tasks are click (binary_cross_entropy), buy")
        assert "its columns are user, shop, price, age, bits, today's shop, user" in reason(
            day(tmp_path / "a", rows(20), categorical=["shop", "user"])
        )
        assert "columns price have a logarithm" in reason(day(tmp_path / "b", rows(20), log1p=[]))


class TestKeys:
    LIVE = Live("a", ("click",), True)

    def test_every_stage_depends_on_the_live_model(self, today: Day) -> None:
        without = spec_of(today).stage_keys()
        keys = {spec_of(today, live).stage_keys() for live in (None, self.LIVE, replace(self.LIVE, digest="b"))}
        keys.add(spec_of(today, replace(self.LIVE, start=False)).stage_keys())
        assert len(keys) == 4
        assert all(len(set(stage)) == 4 for stage in zip(*keys, strict=True))
        assert len(without) == 3

    def test_the_hash_is_of_what_the_model_says_not_of_where_it_comes_from(self, champion: TrainedModel) -> None:
        assert digest_of(replace(champion, origin={"run": "x"})) == digest_of(champion)
        state = {name: value + 1 for name, value in champion.state.items()}
        assert digest_of(replace(champion, state=state)) != digest_of(champion)

    def test_every_stage_protects_what_the_live_model_has(self, today: Day) -> None:
        stages = spec_of(today, replace(self.LIVE, tasks=("buy",))).stages
        assert [[task.name for task in stage.protected] for stage in stages] == [["buy"], ["buy"], ["click", "buy"]]

    def test_a_method_without_priorities_is_refused(self, today: Day) -> None:
        with pytest.raises(ValueError, match="protect needs a method that holds tasks at their limits"):
            spec_of(today, self.LIVE, method="famo").check()


def test_a_stage_counts_a_task_once_that_it_minimises_within_a_limit(today: Day) -> None:
    """Terms: λ's two first, then what the stage minimises; losses click 3, buy 5; α = 0.3."""

    def terms(stage: StageSpec) -> list[float]:
        assert [task.name for task in stage.tasks] == ["click", "buy"]
        return Terms(stage, torch.device("cpu"))(torch.tensor([3.0, 5.0], dtype=torch.float64)).tolist()

    joint, first, second = spec_of(today, Live("a", ("click", "buy"), True)).stages
    assert terms(joint) == pytest.approx([3.0, 5.0, 0.65 * 3 + 0.35 * 5])
    assert terms(first) == pytest.approx([3.0, 5.0, 3 + 0.3 * 5])
    assert terms(second) == pytest.approx([3.0, 5.0, 5.0])


class TestChain:
    def test_from_the_live_model_no_stage_leaves_a_task_worse(
        self, champion: TrainedModel, today: Day, tmp_path: Path
    ) -> None:
        spec = spec_of(today, live_of(champion, tmp_path, start=True))
        recorder = Recorder()
        records, _ = train(spec, today, tmp_path, recorder)
        assert [record.held for record in records] == [True] * 3
        assert [record.candidates[0].feasible for record in records] == [True] * 3
        for record in records:
            assert [(v.task, v.split) for v in record.against_live] == [
                (task, split) for split in ("valid", "test") for task in ("click", "buy")
            ]
            assert all(verdict.kept for verdict in record.against_live if verdict.split == "valid")
            assert all(verdict.metric is not None for verdict in record.against_live)
            assert set(record.multipliers) == {"click", "buy"}
            assert record.certificate is not None
        assert max(abs(v.difference) for v in records[0].candidates[0].verdicts) < 1e-6
        live = StageStore(str(tmp_path)).read(spec.live_key())
        assert live is not None
        assert live.steps == 0
        assert [verdict.optimum for verdict in records[0].verdicts[:2]] == pytest.approx(
            [live.losses["valid"][task.name] for task in TASKS]
        )

        again = Recorder()
        assert train(spec, today, tmp_path, again)[0] == records
        assert [event.reused for event in again.events if isinstance(event, StageFinished)] == [True] * 3

    def test_the_tighter_of_two_limits_holds(self, champion: TrainedModel, today: Day, tmp_path: Path) -> None:
        live = live_of(champion, tmp_path, start=True)
        records, _ = train(spec_of(today, live), today, tmp_path)
        limits = {verdict.task: verdict.optimum for verdict in records[2].verdicts if verdict.split == "valid"}
        measured = StageStore(str(tmp_path)).read(spec_of(today, live).live_key())
        assert measured is not None
        own, lives = records[1].losses["valid"]["click"], measured.losses["valid"]["click"]
        assert own != pytest.approx(lives, abs=1e-4)
        assert limits["click"] == pytest.approx(min(own, lives))
        assert limits["buy"] == pytest.approx(measured.losses["valid"]["buy"])
        assert records[2].live == (("click", "buy") if lives < own else ("buy",))

    def test_a_chain_that_starts_elsewhere_and_stays_worse_says_so(
        self, champion: TrainedModel, today: Day, tmp_path: Path
    ) -> None:
        """Too few steps from random parameters: the model that exceeds the limits least is kept."""
        spec = spec_of(today, live_of(champion, tmp_path, start=False), eta_theta=1e-4, max_epochs=1)
        records, _ = train(spec, today, tmp_path)
        assert not records[-1].held
        assert not records[0].candidates[0].feasible
        assert not all(verdict.kept for verdict in records[-1].against_live if verdict.split == "valid")

        def excess(place: int) -> float:
            verdicts = records[0].candidates[place].verdicts
            return sum(max(0.0, v.difference - v.allowed) / v.optimum for v in verdicts)

        accepted = next(i for i, c in enumerate(records[0].candidates) if c.step == records[0].accepted_step)
        assert accepted > 0
        assert excess(accepted) == min(excess(place) for place in range(len(records[0].candidates)))

    def test_one_that_starts_elsewhere_and_gets_there_keeps_a_feasible_model(
        self, champion: TrainedModel, today: Day, tmp_path: Path
    ) -> None:
        spec = spec_of(today, live_of(champion, tmp_path, start=False), eta_theta=0.03, max_epochs=4)
        records, _ = train(spec, today, tmp_path)
        assert not records[0].candidates[0].feasible
        assert records[-1].held
