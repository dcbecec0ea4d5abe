from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nmt.trainers.models.mmoe import MMoE
from nmt.trainers.models.ple import PLE
from nmt.trainers.models.shared_bottom import SharedBottom
from tests.trainers._models import (
    SCHEMA,
    WIDTH,
    MultiTaskModel,
    assert_same_function,
    gate,
    gradients,
    perceptron,
    some_rows,
    some_tasks,
)

SMALL: dict[str, Any] = {"embedding_dim": 1, "expert_units": (8, 6), "gate_units": (4,), "tower_units": (5,)}
WIDE: dict[str, Any] = {"embedding_dim": 1, "expert_units": (24, 24), "gate_units": (24,), "tower_units": (24,)}
"""Wide enough that no ReLU is off for all rows."""


class TestPLE(MultiTaskModel):
    name = "ple"
    options: ClassVar[dict[str, Any]] = {"expert_units": [8, 6], "gate_units": [4], "tower_units": [5]}
    variants: ClassVar[list[dict[str, Any]]] = [
        {},
        {"layers": 3, "specific_experts": 2, "shared_experts": 3},
        {"layers": 2, "specific_experts": 0},
        {"layers": 2, "shared_experts": 0},
        {"gate_units": []},
    ]
    more = (
        {"layers": 2, "specific_experts": 2, "shared_experts": 2},
        {"layers": 2, "specific_experts": 9, "shared_experts": 5},
    )


def written_out(model: PLE, features: Tensor, tasks: int, specific: int, shared: int) -> list[Tensor]:
    """Compute the logits with loops over layers, tasks and experts."""
    states, shared_state = [features] * tasks, features
    for layer in model.layers:
        own = [
            [perceptron(layer.specific_experts, task * specific + e, states[task]) for e in range(specific)]
            for task in range(tasks)
        ]
        common = [perceptron(layer.shared_experts, e, shared_state) for e in range(shared)]
        everybody = [output for outputs in own for output in outputs] + common
        if layer.shared_gate is not None:
            new_shared_state = mixed(gate(layer.shared_gate, 0, shared_state), everybody)
        states = [mixed(gate(layer.gates, task, states[task]), own[task] + common) for task in range(tasks)]
        if layer.shared_gate is not None:
            shared_state = new_shared_state
    return [perceptron(model.towers, task, states[task])[:, 0] for task in range(tasks)]


def mixed(weights: Tensor, outputs: list[Tensor]) -> Tensor:
    assert weights.shape[1] == len(outputs)
    return torch.stack([weights[:, e : e + 1] * output for e, output in enumerate(outputs)]).sum(0)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("specific", "shared"), [(1, 1), (2, 3), (3, 1), (0, 2), (2, 0)])
def test_forward_pass_against_loops(layers: int, specific: int, shared: int) -> None:
    sizes = {"layers": layers, "specific_experts": specific, "shared_experts": shared}
    model, batch = PLE(SCHEMA, some_tasks(3), **sizes, **SMALL).double(), some_rows(9, 3)
    expected = written_out(model, model.features(batch), 3, specific, shared)
    for output, logits in zip(model(batch).values(), expected, strict=True):
        torch.testing.assert_close(output, logits, rtol=1e-10, atol=1e-12)


class TestGradients:
    """Which parameters have a gradient from which task's loss."""

    @staticmethod
    def of_task(model: PLE, index: int) -> dict[str, list[bool]]:
        """Return parameter → whether each of its slices (perceptrons) has a gradient from one task's loss."""
        found = gradients(model, model(some_rows(40, 3))[f"task_{index}"].square().sum())
        return {name: [bool(part.any()) for part in gradient] for name, gradient in found.items()}

    @pytest.mark.parametrize("layers", [1, 2, 3, 4])
    def test_last_layers_belong_to_one_task(self, layers: int) -> None:
        """The specific experts of the last layer, and the gates of the last two: only specific experts read these."""
        model = PLE(SCHEMA, some_tasks(3), layers=layers, specific_experts=2, **WIDE)
        gates = tuple(f"layers.{layer}.gates." for layer in range(max(0, layers - 2), layers))
        for index in range(3):
            own = [task == index for task in range(3)]
            for name, reached in self.of_task(model, index).items():
                if name.startswith(f"layers.{layers - 1}.specific_experts."):
                    assert reached == [mine for mine in own for _ in range(2)], name
                if name.startswith(gates):
                    assert reached == own, name

    @pytest.mark.parametrize("layers", [2, 3, 4])
    def test_earlier_layers_serve_all_tasks_through_the_shared_state(self, layers: int) -> None:
        model = PLE(SCHEMA, some_tasks(3), layers=layers, specific_experts=2, **WIDE)
        gates = tuple(f"layers.{layer}.gates." for layer in range(layers - 2))
        for index in range(3):
            for name, reached in self.of_task(model, index).items():
                if name.startswith(gates):
                    assert all(reached), name
                early = not name.startswith(f"layers.{layers - 1}.")
                if early and (".specific_experts." in name or ".shared_gate." in name):
                    assert all(reached), name
                if ".shared_experts." in name:
                    assert all(reached), name

    @pytest.mark.parametrize("layers", [1, 3])
    def test_without_shared_experts_tasks_share_no_layer(self, layers: int) -> None:
        model = PLE(SCHEMA, some_tasks(3), layers=layers, specific_experts=2, shared_experts=0, **WIDE)
        for index in range(3):
            own = [task == index for task in range(3)]
            for name, reached in self.of_task(model, index).items():
                if ".specific_experts." in name:
                    assert reached == [mine for mine in own for _ in range(2)], name
                if ".gates." in name:
                    assert reached == own, name


class TestIdentities:
    def test_without_specific_experts_is_mmoe(self) -> None:
        model = PLE(SCHEMA, some_tasks(2), specific_experts=0, shared_experts=3, **SMALL).double()
        other = MMoE(SCHEMA, some_tasks(2), experts=3, **SMALL).double()
        names = {"experts.": "layers.0.shared_experts.", "gates.": "layers.0.gates."}

        def rename(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {renamed(name, names): value for name, value in parameters.items()}

        assert_same_function(model, other, rename)

    def test_with_one_task_is_mmoe(self) -> None:
        """The specific experts come before the shared ones."""
        model = PLE(SCHEMA, some_tasks(1), specific_experts=2, shared_experts=3, **SMALL).double()
        other = MMoE(SCHEMA, some_tasks(1), experts=5, **SMALL).double()

        def rename(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
            copied = {}
            for name, value in parameters.items():
                if name.startswith("experts."):
                    copied[f"layers.0.specific_{name}"], copied[f"layers.0.shared_{name}"] = value[:2], value[2:]
                else:
                    copied[renamed(name, {"gates.": "layers.0.gates."})] = value
            return copied

        assert_same_function(model, other, rename)

    @pytest.mark.parametrize("layers", [1, 2])
    def test_without_shared_experts_each_task_has_its_own_bottom(self, layers: int) -> None:
        """With one expert per task, further layers lengthen the bottom."""
        model = PLE(SCHEMA, some_tasks(2), layers=layers, shared_experts=0, **SMALL).double()
        units = SMALL["expert_units"] * layers
        batch = some_rows(13, 2)
        for index, task in enumerate(some_tasks(2)):
            bottom = SharedBottom(SCHEMA, [task], embedding_dim=1, bottom_units=units, tower_units=(5,)).double()
            state = dict(bottom.state_dict())
            state["features.embedding.weight"] = model.features.embedding.weight
            for name, value in model.towers.state_dict().items():
                state[f"towers.{name}"] = value[index : index + 1]
            for step in range(2 * layers):
                experts = model.layers[step // 2].specific_experts
                state[f"bottom.{2 * step}.weight"] = experts.weights[step % 2][index].T
                state[f"bottom.{2 * step}.bias"] = experts.biases[step % 2][index, 0]
            bottom.load_state_dict(state)
            torch.testing.assert_close(model(batch)[task.name], bottom(batch)[task.name])


def renamed(name: str, beginnings: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


class TestSizes:
    def test_parameter_count(self) -> None:
        sizes = {"layers": 2, "specific_experts": 2, "shared_experts": 3}
        model = PLE(SCHEMA, some_tasks(2), **sizes, **SMALL)

        def experts(inputs: int) -> int:
            return (2 * 2 + 3) * (inputs * 8 + 8 + 8 * 6 + 6)

        def gates(inputs: int, count: int, mixed: int) -> int:
            return count * (inputs * 4 + 4 + 4 * mixed + mixed)

        first = experts(WIDTH) + gates(WIDTH, 2, 2 + 3) + gates(WIDTH, 1, 2 * 2 + 3)
        last = experts(6) + gates(6, 2, 2 + 3)
        towers = 2 * (6 * 5 + 5 + 5 * 1 + 1)
        assert sum(parameter.numel() for parameter in model.parameters()) == (7 + 5) + first + last + towers

    def test_no_gate_without_a_reader(self) -> None:
        def with_shared_gate(**sizes: int) -> list[bool]:
            layers = PLE(SCHEMA, some_tasks(2), **sizes, **SMALL).layers
            return [layer.shared_gate is not None for layer in layers]

        assert with_shared_gate(layers=1) == [False]
        assert with_shared_gate(layers=3) == [True, True, False]
        assert with_shared_gate(layers=3, specific_experts=0) == [True, True, False]
        assert with_shared_gate(layers=3, shared_experts=0) == [False, False, False]

    def test_sizes_of_the_paper(self) -> None:
        shapes = {name: tuple(value.shape) for name, value in PLE(SCHEMA, some_tasks(2)).named_parameters()}
        assert shapes["features.embedding.weight"] == (12, 16)
        for kind, count in (("specific", 2), ("shared", 1)):
            expected = [(count, 41, 512), (count, 512, 512), (count, 512, 512)]
            assert [shapes[f"layers.0.{kind}_experts.weights.{index}"] for index in range(3)] == expected
        expected = [(2, 41, 128), (2, 128, 64), (2, 64, 2)]
        assert [shapes[f"layers.0.gates.weights.{index}"] for index in range(3)] == expected
        assert [shapes[f"towers.weights.{index}"] for index in range(3)] == [(2, 512, 128), (2, 128, 64), (2, 64, 1)]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"layers": 0}, "layers must be a whole number of at least 1, found 0"),
            ({"specific_experts": -1}, "specific_experts must be a whole number of at least 0, found -1"),
            ({"shared_experts": 1.5}, r"shared_experts must be a whole number of at least 0, found 1\.5"),
            ({"shared_experts": 0, "specific_experts": 0}, "are both 0; at least one of them must be 1 or more"),
            ({"expert_units": []}, r"expert_units must list widths of layers, 1 or more, .* found \[\]"),
            ({"gate_units": [0]}, r"gate_units must list .* found \[0\]"),
            ({"tower_units": "64"}, "tower_units must list .* found '64'"),
        ],
    )
    def test_errors(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            PLE(SCHEMA, some_tasks(2), **options)
