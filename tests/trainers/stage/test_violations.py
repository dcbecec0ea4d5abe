from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.evaluation.evaluation import Mode, evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.samples import Samples
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.stage_spec import StageSpec
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.violations import HeldOutViolations, MinibatchViolations, PairedViolations, Violations
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._asserts import assert_close, no_host_synchronisation
from tests.trainers._problems import Recorder, TwoTowers, binary, chain_spec, conflict, feed_and_model, paper

FIRST, SECOND = binary("first", 0.01), binary("second")
TASKS = (FIRST, SECOND)
LOSSES = TaskLosses(TASKS)


class Setting:
    """A reference model θ*, another model θ, and violations of the first task between them."""

    def __init__(self, data: Path) -> None:
        self.feed = MemoryFeed(str(data), ["first", "second"], 16, 0)
        self.theta_star, self.theta = (TwoTowers(self.feed.schema, TASKS, double=True) for _ in range(2))
        self.multipliers = Multipliers([self.mean(self.theta_star, "train")], rate=1.0, tolerance=0.01)

    def mean(self, model: TwoTowers, split: str) -> float:
        return evaluate(Learner(model, self.feed, LOSSES), split).losses["first"]

    def references(self, split: str, mode: Mode) -> dict[str, Samples]:
        return {"first": evaluate(Learner(self.theta_star, self.feed, LOSSES), split, mode=mode).local_of("first")}

    def minibatch(self) -> Violations:
        return MinibatchViolations(self.multipliers)

    def paired(self) -> Violations:
        return PairedViolations(self.multipliers, self.references("train", "train"), [FIRST])

    def held_out(self, model: TwoTowers, every: int = 1, share: float = 1.0) -> Violations:
        references = self.references("valid", "eval")
        settings = Settings(measure_every=every, measured_share=share)
        spec = StageSpec(1, 2, (SECOND,), (), (1.0,), (FIRST,), settings)
        return HeldOutViolations(self.multipliers, references, Learner(model, self.feed, LOSSES), spec)

    def measure(self, violations: Violations, model: TwoTowers, batch: Batch) -> tuple[Tensor, float]:
        """The violation, and the number of samples behind it."""
        samples = LOSSES(model(batch), batch, TASKS)
        counts = samples.counts.sum(0, dtype=torch.float64)
        means = samples.sums.detach().sum(0) / counts.clamp(min=1)
        return violations.measure(batch, samples, counts, means), float(counts[0])


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(conflict(tmp_path / "data"))


def weighted(setting: Setting, violations: Violations, model: TwoTowers) -> tuple[float, list[float]]:
    """Mean over an epoch's samples, and the value on each minibatch."""
    found = [setting.measure(violations, model, batch) for batch in setting.feed.epoch(1, 0)]
    return sum(float(v) * n for v, n in found) / sum(n for _, n in found), [float(v) for v, _ in found]


def test_both_on_the_minibatch_have_the_same_mean(setting: Setting) -> None:
    """L(θ) − L* − ε over an epoch; pairing takes out the noise between minibatches."""
    expected = setting.mean(setting.theta, "train") - setting.mean(setting.theta_star, "train") - 0.01
    plain, _ = weighted(setting, setting.minibatch(), setting.theta)
    paired, values = weighted(setting, setting.paired(), setting.theta)
    assert plain == pytest.approx(expected, abs=1e-10)
    assert paired == pytest.approx(expected, abs=1e-10)
    assert len(set(values)) > 1


def test_paired_is_exact_at_the_reference(setting: Setting) -> None:
    """At θ* every minibatch gives −ε; without pairing it is as noisy as the minibatch."""
    _, paired = weighted(setting, setting.paired(), setting.theta_star)
    assert paired == pytest.approx([-0.01] * len(paired), abs=1e-12)
    _, plain = weighted(setting, setting.minibatch(), setting.theta_star)
    assert float(torch.tensor(plain).std()) > 0.01


def test_paired_is_the_mean_difference_of_the_same_samples(setting: Setting) -> None:
    violations = setting.paired()
    for batch in setting.feed.epoch(1, 3):
        measured, _ = setting.measure(violations, setting.theta, batch)
        one, two = (LOSSES(model(batch), batch, [FIRST]) for model in (setting.theta, setting.theta_star))
        difference = float(((one.sums - two.sums).sum() / one.counts.sum()).detach())
        assert_close(measured, [difference - 0.01], 1e-10)


def test_held_out_is_measured_on_the_validation_split(setting: Setting) -> None:
    """Whatever the training minibatch is; one pass over the split gives its mean difference."""
    violations = setting.held_out(setting.theta)
    some = next(iter(setting.feed.epoch(0, 0)))
    total, count = 0.0, 0.0
    for batch in setting.feed.epoch(1, 0, "valid"):
        n = float((~batch.labels[:, 0].isnan()).sum())
        total += n * float(setting.measure(violations, setting.theta, some)[0])
        count += n
    expected = setting.mean(setting.theta, "valid") - setting.mean(setting.theta_star, "valid") - 0.01
    assert total / count == pytest.approx(expected, abs=1e-10)
    assert setting.theta.training
    assert all(parameter.grad is None for parameter in setting.theta.parameters())


def test_held_out_goes_on_for_ever(setting: Setting) -> None:
    violations = setting.held_out(setting.theta_star)
    some = next(iter(setting.feed.epoch(0, 0)))
    for _ in range(3 * 8 + 1):
        assert_close(setting.measure(violations, setting.theta_star, some)[0], [-0.01], 1e-12)


class TestShare:
    """A held-out measurement takes a share of a global batch, here of 16 examples."""

    def measured(self, setting: Setting, share: float) -> list[float]:
        """Measure one pass over the validation split, signed and without the tolerance."""
        violations = setting.held_out(setting.theta, share=share)
        some = next(iter(setting.feed.epoch(0, 0)))
        count = setting.feed.steps_per_epoch("valid", share)
        return [float(setting.measure(violations, setting.theta, some)[0]) + 0.01 for _ in range(count)]

    def by_hand(self, setting: Setting, batch: Batch) -> tuple[float, float]:
        """Sum of the paired differences of one batch, and its number of labelled samples."""
        one, two = (LOSSES(model.eval()(batch), batch, [FIRST]) for model in (setting.theta, setting.theta_star))
        return float((one.sums - two.sums).sum().detach()), float(one.counts.sum())

    @pytest.mark.parametrize(("share", "examples"), [(1.0, 16), (0.5, 8), (0.25, 4), (0.01, 1)])
    def test_examples_of_a_measurement(self, setting: Setting, share: float, examples: int) -> None:
        sizes = [batch.rows for batch in setting.feed.epoch(1, 0, "valid", share=share)]
        assert sizes == [examples] * (120 // examples) + [120 % examples] * (120 % examples > 0)
        assert len(sizes) == setting.feed.steps_per_epoch("valid", share)

    def test_a_quarter_is_the_default(self) -> None:
        assert Settings().measured_share == 0.25

    def test_all_of_it_is_the_mean_difference_of_whole_batches(self, setting: Setting) -> None:
        expected = [total / n for total, n in (self.by_hand(setting, b) for b in setting.feed.epoch(1, 0, "valid"))]
        assert self.measured(setting, 1.0) == pytest.approx(expected, abs=1e-10)

    def test_four_quarters_are_a_whole(self, setting: Setting) -> None:
        """The order of the examples does not depend on the share: quarters add up to batches, example by example."""
        quarters = self.measured(setting, 0.25)
        found = [self.by_hand(setting, batch) for batch in setting.feed.epoch(1, 0, "valid", share=0.25)]
        assert quarters == pytest.approx([total / max(1, n) for total, n in found], abs=1e-10)
        for place, batch in enumerate(setting.feed.epoch(1, 0, "valid")):
            total, n = self.by_hand(setting, batch)
            parts = found[4 * place : 4 * place + 4]
            assert (sum(t for t, _ in parts), sum(c for _, c in parts)) == pytest.approx((total, n))

    @pytest.mark.parametrize("share", [1.0, 0.25])
    def test_it_goes_on_from_any_measurement(self, setting: Setting, share: float) -> None:
        """Over the end of a pass: a resumed stage measures what an undisturbed one does."""
        some = next(iter(setting.feed.epoch(0, 0)))
        whole = setting.held_out(setting.theta, share=share)
        found = [float(setting.measure(whole, setting.theta, some)[0]) for _ in range(40)]
        for skipped in (3, 8, 30, 37):
            again = setting.held_out(setting.theta, share=share)
            again.skip(skipped)
            rest = [float(setting.measure(again, setting.theta, some)[0]) for _ in range(40 - skipped)]
            assert rest == found[skipped:]

    @pytest.mark.parametrize("share", [1.0, 0.25])
    def test_the_path_of_lambda_in_a_stage(self, tmp_path: Path, share: float) -> None:
        """λ of every step, from the models that the engine stepped through, on batches of that share."""
        data = conflict(tmp_path / "data")
        measured: list[tuple[list[int], float]] = []
        measure = HeldOutViolations.measure

        def spy(self: HeldOutViolations, *arguments: Any) -> Tensor:
            """Compute the violation of the next batch by hand, with the model of this very step."""
            batch = expected_batches[len(measured)]
            model = self._learner.model.eval()
            samples = self._learner.losses(model(batch), batch, [FIRST])
            model.train()
            references = store.references(spec.stage_keys()[0]).sums["valid"]["first"]
            total = samples.sums.squeeze(1).detach().double() - references[batch.index].double()
            measured.append((batch.index.tolist(), float(total.sum() / samples.counts.sum()) - 0.01))
            return measure(self, *arguments)

        options: dict[str, Any] = {"violations": "held_out", "measure_every": 2, "measured_share": share}
        training = paper(eta_theta=0.05, eta_lambda=2.0, max_epochs=3, evaluations_per_epoch=1, patience=99, **options)
        spec = chain_spec(data, [[FIRST], [SECOND]], training)
        feed, model = feed_and_model(spec, data)
        store = StageStore(str(tmp_path / "store"))
        passes = (feed.epoch(1, epoch, "valid", share=share) for epoch in range(9))
        expected_batches = [batch for one in passes for batch in one]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HeldOutViolations, "measure", spy)
            _, second = run_chain(spec, model, feed, store, Recorder())
        assert second.steps == 18
        assert len(measured) == 9
        assert {len(index) for index, _ in measured} <= {round(32 * share), 120 % round(32 * share)}
        value = 1.0
        for row in second.rows:
            if row.step % 2 == 1:
                value = max(0.0, value + 2.0 * 2 * measured[row.step // 2][1])
            assert row.multipliers["first"] == pytest.approx(value, abs=1e-6)
        assert len({row.multipliers["first"] for row in second.rows}) == 9


@pytest.mark.parametrize("kind", ["minibatch", "paired"])
def test_a_batch_without_labels_violates_nothing(setting: Setting, kind: str) -> None:
    violations: Violations = getattr(setting, kind)()
    batch = next(iter(setting.feed.epoch(0, 0)))
    batch.labels[:, 0] = float("nan")
    assert setting.measure(violations, setting.theta, batch)[0].tolist() == [0.0]


@pytest.mark.parametrize("paired", [False, True])
def test_no_host_synchronisation(setting: Setting, paired: bool) -> None:
    batch = next(iter(setting.feed.epoch(0, 0)))
    references = setting.references("train", "train")
    samples = LOSSES(setting.theta(batch), batch, TASKS)
    real = (setting.multipliers, Samples(*(value.detach() for value in samples)), batch, references)
    with no_host_synchronisation(*real) as (multipliers, fake, data, held):
        violations: Any = PairedViolations(multipliers, held, [FIRST]) if paired else MinibatchViolations(multipliers)
        counts = fake.counts.sum(0, dtype=torch.float64)
        violations.measure(data, fake, counts, fake.sums.sum(0).double())


@pytest.mark.parametrize(
    ("options", "every"),
    [
        ({"violations": "paired"}, 1),
        ({"violations": "held_out", "measure_every": 1}, 1),
        ({"violations": "held_out"}, 4),
    ],
    ids=str,
)
def test_multipliers_follow_the_measurements(tmp_path: Path, options: dict[str, Any], every: int) -> None:
    """λ ascends when a violation was measured, by as many steps' worth as it stands for."""
    data = conflict(tmp_path / "data")
    training = paper(
        eta_theta=0.1,
        eta_lambda=0.5,
        max_epochs=2,
        evaluations_per_epoch=1,
        patience=9,
        accept_standard_errors=0.0,
        **options,
    )
    spec = chain_spec(data, [[FIRST], [SECOND]], training)
    feed, model = feed_and_model(spec, data)
    _, second = run_chain(spec, model, feed, StageStore(str(tmp_path)), Recorder())
    value = 1.0
    for row in second.rows:
        if (row.step - 1) % every == 0:
            value = max(0.0, value + 0.5 * every * row.violations["first"])
        assert row.multipliers["first"] == pytest.approx(value, abs=1e-9)
    measured = [row.violations["first"] for row in second.rows]
    assert len(set(measured)) == len(measured) // every
    assert measured[0] == pytest.approx(-0.01, abs=1e-6)  # the stage starts at θ*
    assert second.held
