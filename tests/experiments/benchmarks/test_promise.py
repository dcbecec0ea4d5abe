"""The benchmark of the promise: its arms and budgets, how the best weights are chosen, and a small run of all of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.benchmarks.promise.__main__ import main, parse_variant, plan_jobs, read_results
from nmt.experiments.benchmarks.promise.arms import FIRST_WEIGHTS, build_arms, group_arms, weights_of
from nmt.experiments.benchmarks.promise.table import (
    Paired,
    Tasks,
    best_weights,
    detail_rows,
    sign_of,
    summary_heads,
    summary_row,
    variant_rows,
)
from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.trainers.methods.names import WEIGHTED_SUM
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.spec.training import Training
from tests.experiments.data.test_sources import ROWS, synthetic_kuairand

FILE = Path(__file__).parents[3] / "experiments" / "kuairand.yaml"
LIKE, FINISH, SHARE = (Task(name, "binary_cross_entropy") for name in ("like", "finish", "share"))
TASKS = Tasks(("like",), ("finish",), {"like": 1.0, "finish": 1.0})
TRAIN = ROWS - 100
WEIGHTS = [f"{share:g}, {budget}" for share in FIRST_WEIGHTS for budget in ("stage", "chain")]


def chain(*levels: Sequence[Task], **training: Any) -> ChainSpec:
    return ChainSpec(
        tuple(map(tuple, levels or ([LIKE], [FINISH], [SHARE]))),
        ModelSpec("shared_bottom"),
        Training(**training).settle(),
        8,
        "data",
    )


class TestArms:
    def test_chains_single_tasks_and_weights(self) -> None:
        arms = build_arms(chain())
        assert list(arms) == ["joint", "paper", "like alone", "finish alone", "share alone", *WEIGHTS]
        assert arms["joint"].spec == chain()
        assert [task.name for task in arms["finish alone"].spec.tasks] == ["finish"]

    def test_that_of_the_paper_is_its_recipe_at_the_experiments_rates(self) -> None:
        training: dict[str, Any] = {"eta_theta": 0.02, "patience": 9, "max_epochs": 7, "later_weight": 0.5}
        settings = build_arms(chain(**training))["paper"].spec.training
        del training["later_weight"]
        assert settings == Training(recipe="paper", **training).settle()

    @pytest.mark.parametrize(("recipe", "stages"), [("joint", 4), ("paper", 3)])
    def test_budgets_are_one_stage_and_the_stages_of_the_chain(self, recipe: Any, stages: int) -> None:
        arms = build_arms(chain(recipe=recipe))
        for share in FIRST_WEIGHTS:
            stage, whole = (arms[f"{share:g}, {budget}"] for budget in ("stage", "chain"))
            assert (stage.budget, len(stage.spec.stages)) == ("stage", 1)
            assert (whole.budget, len(whole.spec.stages)) == ("chain", stages)
            assert replace(whole.spec, rounds=1) == stage.spec  # nothing else differs, and the first round is shared
            assert whole.spec.stage_keys()[:1] == stage.spec.stage_keys()

    def test_the_first_level_has_the_weight_and_the_others_share_the_rest(self) -> None:
        assert weights_of(chain(), 0.8) == pytest.approx((0.8, 0.1, 0.1))
        assert weights_of(chain([LIKE, FINISH], [SHARE]), 0.8) == pytest.approx((0.4, 0.4, 0.2))
        (stage,) = build_arms(chain())["0.8, stage"].spec.stages
        assert stage.settings.method == WEIGHTED_SUM
        assert stage.objective_weights == pytest.approx({"like": 0.8, "finish": 0.1, "share": 0.1})

    def test_a_variant_differs_in_its_settings_alone(self) -> None:
        arms = build_arms(chain(), {"alpha 1": {"later_weight": 1.0}})
        assert arms["alpha 1"].kind == "variant"
        assert arms["alpha 1"].spec == replace(chain(), training=replace(chain().training, later_weight=1.0))

    def test_a_variant_cannot_take_the_name_of_another_arm(self) -> None:
        with pytest.raises(ValueError, match=r"variants \['joint'\] have the names of other arms"):
            build_arms(chain(), {"joint": {"later_weight": 1.0}, "alpha 1": {"later_weight": 1.0}})

    def test_arms_that_share_stages_are_trained_one_after_the_other(self) -> None:
        """Otherwise two processes would train the same stage at once."""
        arms = build_arms(chain(), {"alpha 1": {"later_weight": 1.0}})
        groups = group_arms(arms)
        assert sorted(name for group in groups for name in group) == sorted(arms)
        assert ("joint", "alpha 1") in groups
        keys = [{key for name in group for key in arms[name].spec.stage_keys()} for group in groups]
        for place, some in enumerate(keys):
            assert not any(some & others for others in keys[place + 1 :])


class TestVariants:
    def test_a_name_and_settings(self) -> None:
        assert parse_variant("alpha 1:later_weight=1") == ("alpha 1", {"later_weight": 1.0})
        assert parse_variant("a:eta_lambda=0.3,retreats=0") == ("a", {"eta_lambda": 0.3, "retreats": 0})

    def test_whole_numbers_stay_whole(self) -> None:
        """A stage counts with them."""
        _, values = parse_variant("a:max_epochs=3,patience=2,later_weight=1")
        assert [type(value) for value in values.values()] == [int, int, float]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("alpha", "expected NAME:KEY=NUMBER,…, found 'alpha'"),
            (":later_weight=1", "expected NAME:KEY=NUMBER,…"),
            ("a:later_weight", "expected NAME:KEY=NUMBER,…"),
            ("a:later_weight=1,", "expected NAME:KEY=NUMBER,…"),
            ("a:later_wieght=1", "there is no number 'later_wieght' to set; allowed are .*later_weight"),
            ("a:violations=paired", "there is no number 'violations' to set"),
            ("a:seed=1", "there is no number 'seed' to set"),
            ("a:later_weight=much", "later_weight must be a number, found 'much'"),
            ("a:max_epochs=1.5", r"max_epochs must be a whole number, found '1\.5'"),
        ],
    )
    def test_what_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            parse_variant(text)


def result(kind: str, valid: Mapping[str, float], test: Mapping[str, float], **others: Any) -> dict[str, Any]:
    """What the tables need of one arm."""
    return {
        "kind": kind,
        "valid": dict(valid),
        "test": dict(test),
        "samples": 100,
        "held": True,
        "verdicts": [],
        **others,
    }


def metrics(like: float, finish: float) -> dict[str, float]:
    return {"like": like, "finish": finish}


def seeds_of(count: int = 3) -> list[dict[str, Any]]:
    """Weights 0.9 win on valid, 0.5 win on test, and 0.3 win on both but do not keep ``like``."""
    arms = {
        "joint": result("joint", metrics(0.8, 0.6), metrics(0.81, 0.55)),
        "paper": result("paper", metrics(0.8, 0.5), metrics(0.79, 0.45)),
        "like alone": result("single", {"like": 0.8}, {"like": 0.8}),
        "finish alone": result("single", {"finish": 0.99}, {"finish": 0.99}),
        "0.9, stage": result("weights", metrics(0.8, 0.7), metrics(0.8, 0.5)),
        "0.5, stage": result("weights", metrics(0.8, 0.6), metrics(0.8, 0.9)),
        "0.3, stage": result("weights", metrics(0.7, 0.95), metrics(0.8, 0.95)),
    }
    return [json.loads(json.dumps(arms)) for _ in range(count)]


class TestBestWeights:
    def test_they_are_chosen_on_the_validation_split(self) -> None:
        seeds = seeds_of()
        assert best_weights(seeds, TASKS) == "0.9, stage"
        for arms in seeds:
            for arm in arms.values():
                arm["valid"], arm["test"] = arm["test"], arm["valid"]
        assert best_weights(seeds, TASKS) == "0.3, stage"  # which keep `like` there

    def test_no_number_of_the_test_split_matters(self) -> None:
        seeds = seeds_of()
        for arms in seeds:
            for arm in arms.values():
                arm["test"] = {}
        assert best_weights(seeds, TASKS) == "0.9, stage"

    def test_the_table_compares_with_the_winner_on_test(self) -> None:
        row = dict(zip(summary_heads(), summary_row("kuairand", seeds_of(), TASKS), strict=True))
        assert row["best weights that keep it"] == "0.9, stage"
        assert row["first task alone"] == "0.8000"
        assert row["joint: first against alone"] == "+0.0100 ± 0.0000"
        assert row["joint: others against the best weights"] == "+0.0500 ± 0.0000"  # against 0.9's 0.5, not 0.5's 0.9
        assert row["paper: others against the best weights"] == "-0.0500 ± 0.0000"
        assert row["samples: chain / 7 weights"] == "100 / 300"

    @pytest.mark.parametrize(
        ("changes", "kept"), [((-0.02, 0.015, 0.0), True), ((-0.002, -0.002, -0.002), False), ((0.0, 0.0, 0.0), True)]
    )
    def test_the_first_task_may_fall_by_one_standard_error(self, changes: tuple[float, ...], kept: bool) -> None:
        """Paired by seed: a small fall in every seed is one, a larger one within the noise is not."""
        seeds = seeds_of()
        for arms, change in zip(seeds, changes, strict=True):
            arms["0.3, stage"]["valid"]["like"] = arms["like alone"]["valid"]["like"] + change
        assert best_weights(seeds, TASKS) == ("0.3, stage" if kept else "0.9, stage")

    def test_one_seed_has_no_standard_error(self) -> None:
        (arms,) = seeds_of(1)
        arms["0.9, stage"]["valid"]["like"] -= 1e-6
        assert best_weights([arms], TASKS) == "0.5, stage"

    def test_none_may_keep_it(self) -> None:
        seeds = seeds_of()
        for arms in seeds:
            arms["like alone"]["valid"]["like"] = 0.9
        assert best_weights(seeds, TASKS) is None
        row = dict(zip(summary_heads(), summary_row("kuairand", seeds, TASKS), strict=True))
        assert row["joint: others against the best weights"] == "none keeps it"
        assert row["best weights that keep it"] == "–"

    def test_a_metric_of_which_less_is_better(self) -> None:
        assert (sign_of("auc"), sign_of("rmse")) == (1.0, -1.0)
        tasks = Tasks(("like",), ("finish",), {"like": 1.0, "finish": sign_of("rmse")})
        assert best_weights(seeds_of(), tasks) == "0.5, stage"


class TestTables:
    def test_a_difference_is_paired_by_seed(self) -> None:
        found = Paired.of([0.1, 0.3])
        assert (found.mean, found.error) == pytest.approx((0.2, 0.1))
        assert str(Paired.of([0.1])) == "+0.1000 ± nan"

    def test_guarantees_are_counted(self) -> None:
        seeds = seeds_of(2)
        for arms, held in zip(seeds, (True, False), strict=True):
            arms["joint"]["verdicts"] = [{"split": "valid", "held": True}, {"split": "test", "held": held}]
        rows = {row[0]: row for row in detail_rows(seeds, TASKS)}
        assert "finish alone" not in rows
        assert rows["joint"][-2] == "2 of 2, 1 on test"
        assert rows["weights 0.9, stage"][-2] == "–"

    def test_a_variant_is_compared_with_the_default_chain(self) -> None:
        seeds = seeds_of(2)
        for arms, change in zip(seeds, (0.01, 0.03), strict=True):
            arms["alpha 1"] = result("variant", {}, metrics(0.81, 0.55 - change))
        (row,) = variant_rows(seeds, TASKS)
        assert row == ["alpha 1", "+0.0000 ± 0.0000", "-0.0200 ± 0.0100", "-0.0200 (finish)"]


class TestKnownResults:
    def prepared(self) -> PreparedExperiment:
        experiment: Any = argparse.Namespace(name="kuairand")
        schema: Any = None
        return PreparedExperiment(experiment, chain([LIKE], [FINISH]), schema, "folder")

    def arms(self, known: Mapping[str, Any], seeds: int = 1, kinds: Sequence[str] = ()) -> list[tuple[int, list[str]]]:
        jobs = plan_jobs(self.prepared(), "storage", seeds, {}, kinds, known)
        return [(job.seed, list(job.arms)) for job in jobs]

    def test_without_any_all_is_trained(self) -> None:
        found = self.arms({}, seeds=2)
        names = list(build_arms(self.prepared().spec))
        for seed in (0, 1):
            assert sorted(name for at, arms in found for name in arms if at == seed) == sorted(names)

    def test_only_what_lacks_is_trained(self) -> None:
        """Of a group too, and of every seed by itself."""
        names = list(build_arms(self.prepared().spec))
        known: dict[str, dict[int, dict[str, Any]]] = {
            "kuairand": {seed: {name: {} for name in names} for seed in (0, 1)},
            "other": {2: {}},
        }
        assert self.arms(known, seeds=2) == []
        del known["kuairand"][0]["0.9, chain"], known["kuairand"][1]["joint"]
        assert sorted(self.arms(known, seeds=2)) == [(0, ["0.9, chain"]), (1, ["joint"])]
        assert sorted(name for seed, arms in self.arms(known, seeds=3) for name in arms if seed == 2) == sorted(names)

    def test_arms_are_chosen_by_kind_or_name(self) -> None:
        assert self.arms({}, kinds=["joint", "0.9, stage"]) == [(0, ["joint"]), (0, ["0.9, stage"])]
        assert self.arms({}, kinds=["single"]) == [(0, ["like alone"]), (0, ["finish alone"])]

    def test_files_are_joined_and_the_last_one_counts(self, tmp_path: Path) -> None:
        parts = [{"a": {"0": {"joint": 1, "paper": 1}}}, {"a": {"0": {"joint": 2}, "1": {"joint": 3}}, "b": {}}]
        for number, part in enumerate(parts):
            (tmp_path / f"{number}.json").write_text(json.dumps(part))
        found = read_results([tmp_path / "0.json", tmp_path / "1.json"])
        assert found == {"a": {0: {"joint": 2, "paper": 1}, 1: {"joint": 3}}}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments for the shipped file of KuaiRand on a small log, with a small network and one epoch a stage."""
    folder = tmp_path_factory.mktemp("promise")
    columns = synthetic_kuairand(np.random.default_rng(0))
    columns["split"] = ["train"] * TRAIN + ["valid"] * 50 + ["test"] * 50
    pq.write_table(pa.table(columns), folder / "kuairand.parquet")
    changes = {
        "data.path": folder / "kuairand.parquet",
        "data.cache": folder / "cache",
        "data.batch_size": 64,
        "training.max_epochs": 1,
        "execution.evaluations_per_epoch": 1,
        "model.embedding_dim": 2,
        "model.bottom_units": [4],
        "model.tower_units": [2],
    }
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    return [str(FILE), *sets, "--seeds", "1", "--processes", "1", "--storage", str(folder / "runs")]


@pytest.mark.slow
def test_all_of_it(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every arm is trained within its budget; a second call with its results trains a variant alone."""
    main([*words, "--json", str(tmp_path / "all.json")])
    printed = capsys.readouterr()
    (seeds,) = read_results([tmp_path / "all.json"]).values()
    assert list(seeds) == [0]
    arms = seeds[0]
    assert sorted(arms) == sorted(["joint", "paper", "like alone", "finish alone", *WEIGHTS])
    stages = {"joint": 3, "paper": 2, "single": 1}
    for arm in arms.values():
        count = stages.get(arm["kind"], 3 if arm["budget"] == "chain" else 1)
        assert arm["samples"] == count * TRAIN
        assert len(arm["steps"]) == count
        assert all(0 <= value <= 1 for split in ("valid", "test") for value in arm[split].values())
        assert {(v["task"], v["split"]) for v in arm["verdicts"]} == (
            {("like", "valid"), ("like", "test")} if arm["kind"] in ("joint", "paper") else set()
        )
        assert arm["held"]
    summary, head, details = printed.out.strip().split("\n\n")
    assert summary.splitlines()[-1].startswith("| kuairand | 2 | 1 | ")
    assert head == "kuairand: like before finish, test metrics"
    assert len(details.splitlines()) == 2 + len(arms) - 1  # the models of later tasks alone are for reference

    more = ["--variant", "alpha 1:later_weight=1", "--from", str(tmp_path / "all.json")]
    main([*words, *more, "--json", str(tmp_path / "more.json")])
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if "seed 0" in line] == ["kuairand, seed 0: alpha 1"]
    assert "| alpha 1 | " in printed.out.split("\n\n")[1]
    found = read_results([tmp_path / "more.json"])["kuairand"][0]
    assert {name: arm for name, arm in found.items() if name != "alpha 1"} == arms
    assert found["alpha 1"]["kind"] == "variant"
