"""Construction of a model from its declaration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from nmt.trainers.data.schema import Schema
from nmt.trainers.registry import MODELS, check_options, resolve
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.task import Task


def gives_one_score(name: str) -> bool:
    """Return whether a model gives all tasks the same score, which its class says with ``one_score = True``.

    Raises:
        ValueError: The model is unknown.
    """
    return bool(getattr(resolve("model", name, MODELS), "one_score", False))


def build_model(spec: ModelSpec, schema: Schema, tasks: Sequence[Task], seed: int) -> nn.Module:
    """Build a model; its initial parameters are a function of ``seed``, and the same on every worker.

    The model sees the tasks in the order of their names: it does not depend on their priorities, so that chains with
    other priorities can share stage 0.

    Raises:
        ValueError: The model or an option is unknown, or an option is out of range.
    """
    component = resolve("model", spec.name, MODELS)
    check_options(f"model {spec.name!r}", component, spec.options, ("self", "schema", "tasks"))
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = component(schema, sorted(tasks, key=lambda task: task.name), **spec.options)
    finally:
        torch.random.set_rng_state(state)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model {spec.name!r} returned a {type(model).__name__}, expected a torch.nn.Module")
    return model
