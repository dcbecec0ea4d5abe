"""Methods as alternatives to No More Tuning, and inside its constrained stage."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.trainers.certificate import stationarity
from nmt.trainers.methods import torchjd as torchjd_module
from nmt.trainers.methods.aggregation import Aggregation, build_aggregator
from nmt.trainers.methods.constrained import Constrained
from nmt.trainers.methods.famo import Famo
from nmt.trainers.methods.method import Method, build_method
from nmt.trainers.methods.names import check_method, is_constrained
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.workers.pending_losses import PendingLosses
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from tests.trainers._workers import Workers

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*DPP.*:UserWarning", "ignore:.*Solution may be inaccurate.*:UserWarning"
)

#: The aggregators that the documentation names → the options that they require.
AGGREGATORS: dict[str, dict[str, Any]] = {
    "UPGrad": {},
    "PCGrad": {},
    "MGDA": {},
    "CAGrad": {"c": 0.4},
    "NashMTL": {},
    "AlignedMTL": {},
    "DualProj": {},
    "IMTLG": {},
    "ConFIG": {},
    "FairGrad": {"alpha": 1.0},
    "GradVac": {},
    "Mean": {},
    "Sum": {},
}
FIRST, SECOND = binary("first", 0.01), binary("second")


class Point(nn.Module):
    """The parameters of a closed-form problem."""

    def __init__(self, *start: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def losses(self) -> Tensor:
        """L1 = x², L2 = (x − 1)² + (y − 2)²."""
        x, y = self.theta
        return torch.stack([x**2, (x - 1) ** 2 + (y - 2) ** 2])


class Lifted(Point):
    """The same losses plus 1: as in practice, no loss reaches 0, where FAMO's logarithm diverges."""

    def losses(self) -> Tensor:
        return super().losses() + 1.0


def descend(point: Point, method: Method, multipliers: Multipliers, steps: int, rate: float = 0.1) -> None:
    optimizer = torch.optim.SGD(point.parameters(), lr=rate)
    for _ in range(steps):
        losses = point.losses()
        pending = PendingLosses(losses)
        optimizer.zero_grad()
        method.backward(losses, pending)
        optimizer.step()
        multipliers.ascend(pending.values(), reduced=True)
        method.observe(lambda: point.losses().detach())


def protecting(initial: float = 1.0, rate: float = 1.0) -> Multipliers:
    return Multipliers([0.0], rate=rate, tolerance=0.04, initial=initial)


class TestFamo:
    def test_golden_values(self) -> None:
        famo = Famo(Multipliers([], rate=1.0), 2)
        losses = torch.tensor([1.0, 2.0], dtype=torch.float64)
        assert famo._famo(losses).item() == pytest.approx(0.462098134, abs=1e-8)
        torch.testing.assert_close(famo.weights(losses), torch.tensor([2 / 3, 1 / 3], dtype=torch.float64))

    def test_weights_inside_the_stage_are_multiplier_times_own_weight(self) -> None:
        famo = Famo(protecting(initial=3.0), 2)
        weights = famo.weights(torch.tensor([1.0, 2.0], dtype=torch.float64))
        torch.testing.assert_close(weights, torch.tensor([6 / 7, 1 / 7], dtype=torch.float64))

    def test_a_scaled_multiplier_is_not_cancelled(self) -> None:
        losses = torch.tensor([1.0, 2.0], dtype=torch.float64)
        small, large = (Famo(protecting(initial=value), 2).weights(losses)[0] for value in (1.0, 100.0))
        assert large > small + 0.3

    @pytest.mark.slow
    def test_the_constraint_is_kept_on_the_closed_form_problem(self) -> None:
        """x ≤ √ε = 0.2 and y* = 2. FAMO itself favours the small loss, so the constraint need not be active."""
        point, multipliers = Point(0.0, 0.0), protecting()
        descend(point, Famo(multipliers, 2), multipliers, 5_000, rate=0.02)
        x, y = point.theta.tolist()
        assert 0.05 < x < 0.201
        assert y == pytest.approx(2.0, abs=1e-6)

    def test_the_effective_multiplier_is_the_dual(self) -> None:
        """The constraint x² ≤ 0.04 is active and its price is λ* = 4, although λ itself has another value."""
        point = Lifted(0.0, 0.0)
        multipliers = Multipliers([1.0], rate=3.0, tolerance=0.04)
        famo = Famo(multipliers, 2)
        descend(point, famo, multipliers, 1_000, rate=0.2)
        losses = point.losses()
        price = famo.shadow_prices(multipliers.values, losses.detach())
        assert point.theta.tolist() == pytest.approx([0.2, 2.0], abs=1e-4)
        assert price.tolist() == pytest.approx([4.0], abs=1e-3)
        assert multipliers.values.tolist() == pytest.approx([2.536], abs=1e-2)
        protected, objective = (torch.autograd.grad(loss, point.theta, retain_graph=True)[0] for loss in losses)
        assert stationarity(objective, protected[None], price) < 1e-3
        assert stationarity(objective, protected[None], multipliers.values) > 0.1

    def test_prices_of_several_objectives(self) -> None:
        """FAMO balances objectives of equal priority too: the price refers to their sum with weights of mean 1."""
        famo = Famo(protecting(initial=3.0), 3)
        losses = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
        price = famo.shadow_prices(torch.tensor([3.0], dtype=torch.float64), losses)
        balance = torch.tensor([1 / 2, 1 / 4]) / torch.tensor(3 / 8)
        weights = famo.weights(losses)
        torch.testing.assert_close(weights[0] / weights[1:].mean(), price[0])
        torch.testing.assert_close(weights[1:] / weights[1:].mean(), balance.double())

    def test_computing_prices_leaves_the_state_alone(self) -> None:
        one, other = Famo(protecting(), 2), Famo(protecting(), 2)
        losses = torch.tensor([1.0, 2.0], dtype=torch.float64)
        for famo in (one, other):
            famo.weights(losses)
        one.shadow_prices(torch.ones(1, dtype=torch.float64), 2 * losses)
        for famo in (one, other):
            famo.observe(lambda: 0.9 * losses * torch.tensor([1.0, 0.9]))
        assert torch.equal(one.state_dict()["logits"], other.state_dict()["logits"])

    def test_a_task_without_labels_has_weight_0(self) -> None:
        famo = Famo(Multipliers([], rate=1.0), 3)
        weights = famo.weights(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
        torch.testing.assert_close(weights, torch.tensor([2 / 3, 0.0, 1 / 3], dtype=torch.float64))

    def test_the_certificate_of_a_stage_has_the_effective_multiplier(self, tmp_path: Path) -> None:
        """The record's multiplier is λ itself."""
        conflict(tmp_path / "rows")
        training = paper(method="nmt+famo", eta_theta=0.05, eta_lambda=5.0, max_epochs=8, patience=99)
        spec = chain_spec(tmp_path / "rows", ([FIRST], [SECOND]), training)
        feed, model = feed_and_model(spec, tmp_path / "rows")
        parent, record = run_chain(spec, model, feed, StageStore(str(tmp_path / "store")), Recorder())
        assert record.certificate is not None
        price, value = record.certificate.shadow_prices["first"], record.multipliers["first"]
        assert value == record.rows[-1].multipliers["first"] > 0
        # c_first / c_second is close to the inverse ratio of the losses, because z is still close to (½, ½).
        ratio = record.losses["train"]["second"] / record.losses["train"]["first"]
        assert price == pytest.approx(value * ratio, rel=0.2)
        assert price != pytest.approx(value, rel=1e-3)
        excess = record.losses["train"]["first"] - parent.optima[0].train - 0.01
        assert record.certificate.slackness["first"] == pytest.approx(price * abs(excess), rel=1e-6)


class TestAggregation:
    def test_sum_is_no_more_tuning_itself(self) -> None:
        gradients = []
        for build in (
            lambda multipliers, point: Constrained(multipliers),
            lambda multipliers, point: Aggregation("Sum", multipliers, point, 2, {}),
        ):
            point, multipliers = Point(1.0, 0.5), protecting(initial=2.0)
            losses = point.losses()
            build(multipliers, point).backward(losses, PendingLosses(losses))
            assert point.theta.grad is not None
            gradients.append(point.theta.grad)
        torch.testing.assert_close(gradients[0], gradients[1])

    def test_rows_are_scaled_by_the_weights(self) -> None:
        """The mean of the rows 3/4 · (2, 0) and 1/4 · (0, −3)."""
        point, multipliers = Point(1.0, 0.5), protecting(initial=3.0)
        losses = point.losses()
        Aggregation("Mean", multipliers, point, 2, {}).backward(losses, PendingLosses(losses))
        assert point.theta.grad is not None
        assert point.theta.grad.tolist() == pytest.approx([0.75, -0.375])

    def test_a_parameter_outside_a_tasks_graph_has_gradient_0(self) -> None:
        point = Point(1.0, 0.5)
        losses = torch.stack([point.theta[0] ** 2, point.theta.sum() * 0.0])
        Aggregation("UPGrad", Multipliers([], rate=1.0), point, 2, {}).backward(losses, PendingLosses(losses))
        assert point.theta.grad is not None
        assert point.theta.grad.isfinite().all()

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            (
                "UpGrad",
                {},
                r"torchjd has no aggregator 'UpGrad' \(did you mean 'UPGrad'\?\); it has AlignedMTL, CAGrad",
            ),
            ("CAGrad", {}, r"aggregator 'CAGrad': .*'c'.*give its options in training\.method_options"),
            ("CAGrad", {"see": 1}, r"unknown key 'see' of aggregator 'CAGrad'.*allowed: c, norm_eps"),
            ("CAGrad", {"c": -1.0}, "aggregator 'CAGrad': "),
        ],
    )
    def test_wrong_names_and_options_are_refused(self, name: str, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            build_aggregator(name, 2, options)


def run_aggregators(rank: int, workers: int, folder: str) -> dict[str, dict[str, Any]]:
    """Run a short chain with each aggregator inside the constrained stage."""
    data = Path(folder) / "rows"
    found = {}
    for name in [*AGGREGATORS, "famo"]:
        method = f"nmt+torchjd:{name}" if name in AGGREGATORS else "nmt+famo"
        training = paper(
            method=method,
            method_options=AGGREGATORS.get(name, {}),
            eta_theta=0.05,
            max_epochs=1,
            evaluations_per_epoch=1,
            patience=100,
        )
        spec = chain_spec(data, ([FIRST], [SECOND]), training, model="tests.trainers._problems:TwoTowers")
        feed, model = feed_and_model(spec, data, rank, workers)
        records = run_chain(spec, model, feed, StageStore(f"{folder}/{workers}/{name}"), Recorder())
        found[name] = {
            "held": all(record.held for record in records),
            "steps": records[1].steps,
            "losses": [records[1].rows[-1].losses[task] for task in ("first", "second")],
            "multiplier": records[1].multipliers["first"],
        }
    return found


@pytest.mark.slow
def test_every_aggregator_runs_in_a_constrained_stage_of_two_workers(workers: Workers, tmp_path: Path) -> None:
    conflict(tmp_path / "rows")
    one = run_aggregators(0, 1, str(tmp_path))
    two = workers.run(2, run_aggregators, str(tmp_path))
    for name in [*AGGREGATORS, "famo"]:
        assert two[0][name] == two[1][name], name
        assert two[0][name]["held"], name
        assert two[0][name]["steps"] > 0
        assert two[0][name]["losses"] == pytest.approx(one[name]["losses"], rel=1e-3), name
        assert two[0][name]["multiplier"] == pytest.approx(one[name]["multiplier"], rel=1e-3), name


@pytest.mark.parametrize("method", ["weighted_sum", "famo", "torchjd:UPGrad"])
def test_a_method_without_priorities_solves_all_tasks_in_one_stage(tmp_path: Path, method: str) -> None:
    conflict(tmp_path / "rows")
    training = paper(method=method, eta_theta=0.05, max_epochs=2, evaluations_per_epoch=2)
    spec = chain_spec(tmp_path / "rows", ([FIRST, SECOND],), training)
    feed, model = feed_and_model(spec, tmp_path / "rows")
    (record,) = run_chain(spec, model, feed, StageStore(str(tmp_path / "store")), Recorder())
    start, best = record.candidates[0], record.losses["valid"]
    assert sum(best.values()) < sum(start.losses.values())


def test_a_weighted_sum_follows_its_weights(tmp_path: Path) -> None:
    conflict(tmp_path / "rows")
    found = []
    for weights in ((0.95, 0.05), (0.05, 0.95)):
        training = paper(method="weighted_sum", weights=weights, eta_theta=0.05, max_epochs=4)
        spec = chain_spec(tmp_path / "rows", ([FIRST, SECOND],), training)
        feed, model = feed_and_model(spec, tmp_path / "rows")
        (record,) = run_chain(spec, model, feed, StageStore(str(tmp_path / "store")), Recorder())
        found.append(record.losses["test"])
    assert found[0]["first"] < found[1]["first"]
    assert found[0]["second"] > found[1]["second"]


class TestNames:
    @pytest.mark.parametrize("name", ["nmt", "weighted_sum", "famo", "nmt+famo", "torchjd:UPGrad", "nmt+torchjd:MGDA"])
    def test_known(self, name: str) -> None:
        check_method(name)
        assert is_constrained(name) == name.startswith("nmt")

    @pytest.mark.parametrize("name", ["", "nmt2", "nmt+", "nmt+weighted_sum", "torchjd:", "nmt+torchjd:", "famo+nmt"])
    def test_unknown(self, name: str) -> None:
        with pytest.raises(
            ValueError, match=r"unknown method .*; allowed: nmt, weighted_sum, famo, nmt\+famo, torchjd:NAME"
        ):
            check_method(name)

    @pytest.mark.parametrize(
        ("training", "message"),
        [
            ({"weights": (1.0,)}, "weights belong to method weighted_sum, found method 'nmt'"),
            ({"method": "weighted_sum", "weights": (0.0, 0.0)}, "weights must be at least 0 and not all 0"),
            ({"method": "weighted_sum", "weights": (-1.0, 2.0)}, "weights must be at least 0 and not all 0"),
            ({"method": "famo", "method_options": {"c": 1}}, "method_options belong to an aggregator of torchjd"),
        ],
    )
    def test_options_of_another_method(self, training: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            paper(**training)


def test_a_missing_torchjd_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(torchjd_module, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'no-more-tuning\[methods\]'"):
        build_method("famo", Multipliers([], rate=1.0), Point(0.0, 0.0), 2, None, {})
    importlib.reload(torchjd_module)
