"""State and random draws of methods: the same after a restart and on every worker."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.trainers.methods.aggregation import Aggregation
from nmt.trainers.methods.constrained import Constrained
from nmt.trainers.methods.famo import Famo
from nmt.trainers.methods.method import Method
from nmt.trainers.methods.weighted_sum import WeightedSum
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore
from nmt.trainers.workers.pending_losses import PendingLosses
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper
from tests.trainers._workers import Workers

pytestmark = pytest.mark.filterwarnings("ignore:.*Solution may be inaccurate.*:UserWarning")

Build = Callable[[Multipliers, nn.Module], Method]

CENTRES = torch.tensor([[0.0, 0.0, 1.0, 0.2], [1.0, -1.0, 0.0, 0.1], [-1.0, 0.5, -1.0, 2.0]], dtype=torch.float64)
RANDOM = {"PCGrad": {}, "GradVac": {}, "GradDrop": {}, "Random": {}}
STATEFUL: dict[str, dict[str, Any]] = {
    "NashMTL": {},
    "NashMTL every third step": {"update_weights_every": 3},
    "GradVac": {},
    "PCD": {},
    "ExcessMTL": {},
    "ExcessMTL in its warm-up": {"n_warmup_steps": 8},
    "ExcessMTL after its warm-up": {"n_warmup_steps": 3},
}


class Point(nn.Module):
    """Three quadratic losses of different curvatures, whose gradients conflict."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.3, 0.2, -0.4, 0.5], dtype=torch.float64))

    def losses(self) -> Tensor:
        curvatures = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
        return curvatures * (self.theta - CENTRES).square().sum(1) + 0.1


def protecting() -> Multipliers:
    return Multipliers([0.5], rate=0.5, initial=1.0)


def descend(point: Point, method: Method, multipliers: Multipliers, steps: int) -> list[Tensor]:
    optimizer = torch.optim.SGD(point.parameters(), lr=0.05)
    trace = []
    for _ in range(steps):
        losses = point.losses()
        pending = PendingLosses(losses)
        optimizer.zero_grad()
        method.backward(losses, pending)
        optimizer.step()
        multipliers.ascend(pending.values(), reduced=True)
        method.observe(lambda: point.losses().detach())
        trace.append(point.theta.detach().clone())
    return trace


def aggregation(label: str, options: dict[str, Any]) -> Build:
    return lambda multipliers, point: Aggregation(label.partition(" ")[0], multipliers, point, 3, options)


def on_disk(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state as a checkpoint restores it: tensors and plain values only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


METHODS: dict[str, Build] = {
    "famo": lambda multipliers, point: Famo(multipliers, 3),
    **{label: aggregation(label, options) for label, options in (RANDOM | STATEFUL).items()},
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("before", [0, 1, 7])
def test_a_restart_changes_nothing(name: str, before: int) -> None:
    """Steps, save, load into new objects with another random state, steps ≡ all steps, bit for bit."""
    point, multipliers = Point(), protecting()
    method = METHODS[name](multipliers, point)
    descend(point, method, multipliers, before)
    saved = [on_disk(part.state_dict()) for part in (point, multipliers, method)]
    expected = descend(point, method, multipliers, 8)

    torch.manual_seed(123)
    other, others = Point(), protecting()
    again = METHODS[name](others, other)
    for part, state in zip((other, others, again), saved, strict=True):
        part.load_state_dict(state)
    stream = torch.get_rng_state()
    for one, two in zip(expected, descend(other, again, others, 8), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(multipliers.values, others.values)
    assert torch.equal(stream, torch.get_rng_state())


@pytest.mark.parametrize("name", METHODS)
def test_without_the_state_the_trajectory_differs(name: str) -> None:
    """The negative control of the test above."""
    point, multipliers = Point(), protecting()
    method = METHODS[name](multipliers, point)
    descend(point, method, multipliers, 7)
    saved = [on_disk(part.state_dict()) for part in (point, multipliers)]
    expected = descend(point, method, multipliers, 8)
    torch.manual_seed(123)
    other, others = Point(), protecting()
    for part, state in zip((other, others), saved, strict=True):
        part.load_state_dict(state)
    found = descend(other, METHODS[name](others, other), others, 8)
    assert not torch.equal(torch.stack(expected), torch.stack(found))


def test_a_loaded_state_is_a_copy() -> None:
    for build in METHODS.values():
        point, multipliers = Point(), protecting()
        method = build(multipliers, point)
        descend(point, method, multipliers, 3)
        state, kept = method.state_dict(), on_disk(method.state_dict())
        again = build(multipliers, point)
        again.load_state_dict(state)
        descend(point, method, multipliers, 2)
        descend(point, again, multipliers, 2)
        assert_equal(state, kept)


def assert_equal(one: Any, two: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert_equal(value, two[name])
    elif isinstance(one, Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two


def test_stateless_methods() -> None:
    for method in (Constrained(protecting()), WeightedSum((0.5, 0.5), torch.device("cpu"))):
        assert method.state_dict() == {}
        method.load_state_dict({})


class TestDraws:
    @pytest.mark.parametrize("name", RANDOM)
    def test_are_a_function_of_seed_and_step(self, name: str) -> None:
        def run(seed: int) -> Tensor:
            torch.manual_seed(seed)
            point, multipliers = Point(), protecting()
            return descend(point, aggregation(name, {})(multipliers, point), multipliers, 5)[-1]

        assert torch.equal(run(1), run(1))
        assert not torch.equal(run(1), run(2))

    @pytest.mark.parametrize("name", RANDOM)
    def test_leave_the_workers_random_stream_alone(self, name: str) -> None:
        point, multipliers = Point(), protecting()
        method = aggregation(name, {})(multipliers, point)
        stream = torch.get_rng_state()
        descend(point, method, multipliers, 3)
        assert torch.equal(stream, torch.get_rng_state())

    def test_differ_from_step_to_step(self) -> None:
        """Random draws new weights for the same three gradients at every step."""
        point = Point()
        method = Aggregation("Random", Multipliers([], rate=1.0), point, 3, {})
        found = []
        for _ in range(4):
            losses = point.losses()
            method.backward(losses, PendingLosses(losses))
            assert point.theta.grad is not None
            found.append(point.theta.grad.tolist())
        assert len({tuple(gradient) for gradient in found}) == 4


def run_chains(rank: int, workers: int, folder: str) -> dict[str, dict[str, Tensor]]:
    """Return the final parameters of a one-stage chain over three tasks, by aggregator."""
    data = Path(folder) / "rows"
    tasks = [binary(name) for name in ("first", "second", "third")]
    found = {}
    for name in RANDOM:
        training = paper(method=f"torchjd:{name}", optimizer="sgd", eta_theta=0.05, max_epochs=2, patience=100)
        spec = chain_spec(data, [tasks], training, model="tests.trainers._problems:TwoTowers")
        feed, model = feed_and_model(spec, data, rank, workers)
        start = {key: value.clone() for key, value in model.state_dict().items()}
        run_chain(spec, model, feed, StageStore(f"{folder}/{workers}/{name}"), Recorder())
        found[name] = dict(model.state_dict())
        assert not torch.equal(start["shared.weight"], found[name]["shared.weight"])
    return found


def test_parameters_are_bit_identical_on_two_workers(workers: Workers, tmp_path: Path) -> None:
    """With three tasks PCGrad's random order matters, and every worker has its own seed."""
    conflict(tmp_path / "rows")
    one, two = workers.run(2, run_chains, str(tmp_path))
    for name in RANDOM:
        for key, value in one[name].items():
            assert torch.equal(value, two[name][key]), (name, key)
