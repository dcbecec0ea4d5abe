from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.models.build import build_model
from nmt.trainers.models.scorer import Scorer
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.task import Task
from tests.trainers._asserts import assert_identical
from tests.trainers._problems import binary, rows_batch

SCHEMA = Schema(numeric={"x": Numeric(), "y": Numeric()}, labels={"a": 2, "b": 2})
TASKS = (binary("a"), binary("b"))


def no_model(schema: Schema, tasks: Sequence[Task]) -> str:
    """Return no model: a user's mistake."""
    return "model"


def test_every_task_reads_the_same_score() -> None:
    outputs = Scorer(SCHEMA, TASKS)(rows_batch(torch.ones(5, 2), numeric=torch.randn(5, 2)))
    assert list(outputs) == ["a", "b"]
    assert outputs["a"] is outputs["b"]
    assert outputs["a"].shape == (5,)


def test_layers() -> None:
    widths = [(layer.in_features, layer.out_features) for layer in Scorer(SCHEMA, TASKS, units=[7, 3]).layers[::2]]
    assert widths == [(2, 7), (7, 3), (3, 1)]
    linear = Scorer(SCHEMA, TASKS, units=[])
    numeric = torch.randn(4, 2)
    score = linear(rows_batch(torch.ones(4, 2), numeric=numeric))["a"]
    layer = linear.layers[0]
    assert torch.allclose(score, numeric @ layer.weight[0] + layer.bias)


class TestBuild:
    def test_initial_parameters_follow_the_seed(self) -> None:
        spec = ModelSpec("scorer", {"units": [4]})
        one, same, other = (build_model(spec, SCHEMA, TASKS, seed) for seed in (0, 0, 1))
        assert_identical(one.state_dict(), same.state_dict())
        assert not torch.equal(one.state_dict()["layers.0.weight"], other.state_dict()["layers.0.weight"])

    def test_the_global_random_state_is_unchanged(self) -> None:
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        build_model(ModelSpec("scorer"), SCHEMA, TASKS, 0)
        assert torch.equal(torch.rand(2), expected)

    def test_own_model(self) -> None:
        model = build_model(ModelSpec("tests.trainers._problems:TwoTowers", {"units": 6}), SCHEMA, TASKS, 0)
        assert isinstance(model.shared, nn.Linear)
        assert model.shared.out_features == 6

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("scorrer", {}, r"unknown model 'scorrer' \(did you mean 'scorer'\?\); allowed: .*scorer, "),
            ("scorer", {"unit": [3]}, r"unknown key 'unit' of model 'scorer' \(did you mean 'units'\?\); allowed: emb"),
            ("scorer", {"schema": 1}, "unknown key 'schema'"),
            ("no.such.package:Model", {}, "cannot be imported: .*; is it on the Python path"),
            ("tests.trainers._problems:Nothing", {}, "module tests.trainers._problems has no 'Nothing'"),
            ("tests.trainers._problems:CONFLICT_ROWS", {}, "is a dict, not a callable"),
            ("tests.trainers.models.test_scorer:no_model", {}, "returned a str, expected a torch.nn.Module"),
        ],
    )
    def test_errors(self, name: str, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            build_model(ModelSpec(name, options), SCHEMA, TASKS, 0)
