from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nmt.trainers.stage.optimizer import build_optimizer
from tests.trainers._asserts import assert_close
from tests.trainers._problems import paper


def model() -> nn.ModuleDict:
    return nn.ModuleDict({"embedding": nn.Embedding(3, 2), "frozen": nn.Linear(2, 2), "tower": nn.Linear(2, 1)})


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_by_name(name: Any, kind: str) -> None:
    optimizer = build_optimizer(model(), paper(optimizer=name).settings, 0.3)
    assert type(optimizer).__name__ == kind
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}


def test_only_what_takes_part() -> None:
    net = model()
    net["frozen"].requires_grad_(False)
    optimizer = build_optimizer(net, paper().settings, 0.3)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for name in ("embedding", "tower") for p in net[name].parameters()}


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_penalty_of_the_embeddings_stands_outside(penalty: float) -> None:
    """One step of plain SGD on f + c‖E‖²: E − η(∇f + 2cE), whatever weight f has; nothing else is penalised."""
    net = model()
    start = net["embedding"].weight.detach().clone()
    others = net["tower"].weight.detach().clone()
    optimizer = build_optimizer(net, paper(optimizer="sgd", l2_embedding=penalty).settings, 0.5)
    (0.01 * net["embedding"].weight.sum() + 0.0 * net["tower"].weight.sum()).backward()
    optimizer.step()
    assert_close(net["embedding"].weight, start - 0.5 * (0.01 + 2 * penalty * start), 1e-6)
    assert torch.equal(net["tower"].weight, others)
