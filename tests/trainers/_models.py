"""What every multi-task model has to hold, and its parts as a person would write them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.trainers.data.batch import Batch
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.models.build import build_model
from nmt.trainers.models.perceptrons import Perceptrons
from nmt.trainers.registry import MODELS, resolve
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.optimizer import build_optimizer
from nmt.trainers.stage.participation import participating
from tests.trainers._asserts import assert_close, assert_identical
from tests.trainers._problems import binary, paper, rows_batch

SCHEMA = Schema(categorical={"user": 7, "item": 5}, numeric={"age": Numeric(1.0, 2.0)}, packed={"words": 8})
WIDTH = 11
"""Width of the features of ``SCHEMA`` with embeddings of 1: two embeddings, a number, eight bits."""


def some_tasks(count: int) -> tuple[Task, ...]:
    return tuple(binary(f"task_{place}") for place in range(count))


def some_rows(rows: int, tasks: int) -> Batch:
    """Random features and binary labels."""
    return rows_batch(
        torch.randint(0, 2, (rows, tasks)).float(),
        categorical=torch.stack([torch.randint(0, 7, (rows,)), torch.randint(0, 5, (rows,))], 1),
        numeric=torch.randn(rows, 1),
        packed=torch.randint(0, 256, (rows, 1), dtype=torch.uint8),
    )


def in_double(schema: Schema, tasks: Sequence[Task], name: str, **options: Any) -> nn.Module:
    """A model of the registry in double precision; a user's own by import path, too."""
    model: nn.Module = resolve("model", name, MODELS)(schema, tasks, **options)
    return model.double()


def perceptron(parts: Perceptrons, index: int, inputs: Tensor) -> Tensor:
    """One of several perceptrons by itself."""
    layers = list(zip(parts.weights, parts.biases, strict=True))
    for place, (weight, bias) in enumerate(layers):
        inputs = functional.linear(inputs, weight[index].T, bias[index, 0])
        if place < parts._hidden:
            inputs = functional.relu(inputs)
    return inputs


def gate(parts: Perceptrons, index: int, inputs: Tensor) -> Tensor:
    """Weights of one gate, shape ``(rows, experts)``."""
    return perceptron(parts, index, inputs).softmax(1)


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Parameter → gradient, zeros where the loss does not reach it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True, retain_graph=True)
    return dict(zip(names, found, strict=True))


def weighted(outputs: Mapping[str, Tensor]) -> Tensor:
    """A loss that gives every task, and every row, a gradient of its own."""
    rows = len(next(iter(outputs.values())))
    by_row = torch.linspace(-1.0, 2.0, rows, dtype=torch.float64)
    return sum((place + 1) * (by_row * output).sum() for place, output in enumerate(outputs.values()))  # type: ignore[return-value]


def assert_same_function(
    one: nn.Module, other: nn.Module, rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
) -> None:
    """Both models, in double precision, have the same outputs and gradients.

    Args:
        one: A model; it gets the other's parameters.
        other: Another one with the same tasks.
        rename: From parameters, or gradients, of ``other`` to those of ``one``. What it leaves out keeps its value in
            ``one``, and its gradient is not compared.
    """
    torch.manual_seed(1)
    batch = some_rows(13, 2)
    state = one.state_dict()
    copied = rename(other.state_dict())
    assert set(copied) <= set(state)
    one.load_state_dict({**state, **copied})
    here, there = one(batch), other(batch)
    assert list(here) == list(there)
    for task, output in here.items():
        assert output.dtype == torch.float64
        assert_close(output, there[task], 1e-12)
    mine, expected = gradients(one, weighted(here)), rename(gradients(other, weighted(there)))
    for name, gradient in expected.items():
        assert_close(mine[name], gradient, 1e-11)
    assert any(bool(gradient.any()) for gradient in expected.values())


class _Calls(TorchDispatchMode):
    """Counts calls of torch's operators, those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


def calls_of_a_step(model: nn.Module, tasks: Sequence[Task], rows: int) -> Counter[str]:
    """Operator → calls in a forward and backward pass over all losses."""
    batch, losses = some_rows(rows, len(tasks)), TaskLosses(tasks)
    with _Calls() as counted:
        losses(model(batch), batch, tasks).sums.sum().backward()
    assert {"aten.mm.default", "aten.baddbmm.default"} & counted.calls.keys()
    return counted.calls


class MultiTaskModel:
    """Tests of a multi-task model; a subclass names it.

    Attributes:
        name: Its name in experiment files.
        options: Options that make it small.
        variants: Further options, each to be tried with ``options``.
        more: The same model twice, with few and with more experts.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]]
    variants: ClassVar[list[dict[str, Any]]] = [{}]
    more: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({}, {})

    def build(self, tasks: int = 2, seed: int = 0, **options: Any) -> nn.Module:
        spec = ModelSpec(self.name, {"embedding_dim": 1, **self.options, **options})
        return build_model(spec, SCHEMA, some_tasks(tasks), seed)

    def test_one_logit_per_row_and_task(self) -> None:
        for variant in self.variants:
            for rows in (9, 0):
                outputs = self.build(3, **variant)(some_rows(rows, 3))
                assert list(outputs) == ["task_0", "task_1", "task_2"]
                assert all(output.shape == (rows,) for output in outputs.values())
            assert not torch.equal(*list(self.build(2, **variant)(some_rows(9, 2)).values()))

    def test_a_row_does_not_depend_on_others(self) -> None:
        for variant in self.variants:
            model, batch = self.build(**variant), some_rows(6, 2)
            alone = rows_batch(
                batch.labels[4:5],
                categorical=batch.categorical[4:5],
                numeric=batch.numeric[4:5],
                packed=batch.packed[4:5],
            )
            for task, output in model(batch).items():
                assert_close(output[4:5], model(alone)[task], 1e-6)

    def test_every_parameter_is_read(self) -> None:
        """By a stage with all tasks; a stage with fewer freezes nothing either, as tensors are of all tasks."""
        for variant in self.variants:
            tasks = some_tasks(3)
            model, losses = self.build(3, **variant), TaskLosses(tasks)
            no_feed: Any = None
            for part in (tasks, tasks[:1]):
                with participating(Learner(model, no_feed, losses), some_rows(5, 3), part):
                    assert all(parameter.requires_grad for parameter in model.parameters())

    def test_a_tower_has_no_gradient_from_another_task(self) -> None:
        for variant in self.variants:
            model = self.build(3, **variant)
            found = gradients(model, model(some_rows(9, 3))["task_1"].sum())
            towers = {name: gradient for name, gradient in found.items() if name.startswith("towers.")}
            assert towers
            for gradient in towers.values():
                assert [bool(part.any()) for part in gradient] == [False, True, False]

    def test_built_on_the_meta_device(self) -> None:
        for variant in self.variants:
            with torch.device("meta"):
                described = self.build(**variant).state_dict()
            built = self.build(**variant).state_dict()
            assert all(value.is_meta for value in described.values())
            assert [(name, value.shape) for name, value in described.items()] == [
                (name, value.shape) for name, value in built.items()
            ]

    def test_state_round_trip(self) -> None:
        for variant in self.variants:
            model, other, file = self.build(seed=1, **variant), self.build(seed=2, **variant), io.BytesIO()
            torch.save(model.state_dict(), file)
            file.seek(0)
            other.load_state_dict(torch.load(file, weights_only=True))
            assert_identical(dict(other.named_parameters()), dict(model.named_parameters()))
            batch = some_rows(5, 2)
            assert_identical(other(batch), model(batch))

    def test_penalty_of_embeddings_alone(self) -> None:
        model = self.build()
        groups = build_optimizer(model, paper(l2_embedding=0.25).settings, 0.1).param_groups
        penalised = [parameter for group in groups if group["weight_decay"] for parameter in group["params"]]
        embeddings = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
        assert [id(parameter) for parameter in penalised] == [id(weight) for weight in embeddings]
        assert [tuple(weight.shape) for weight in embeddings] == [(7 + 5, 1)]

    def test_work_in_operators_does_not_grow(self) -> None:
        """A Python loop over tasks or experts would call operators more often. Each output is a view, that is all."""
        for variant in self.variants:
            few, many = (calls_of_a_step(self.build(count, **variant), some_tasks(count), 4096) for count in (2, 32))
            assert many == few + Counter({"aten.select.int": 30})
        few, many = (calls_of_a_step(self.build(**sizes), some_tasks(2), 64) for sizes in self.more)
        assert few == many
