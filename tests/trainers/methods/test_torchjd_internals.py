"""The private parts of torchjd that the adapter reads: this file fails when a new version changes them."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam
from torchjd import aggregation
from torchjd.scalarization import FAMO

from nmt.trainers.methods.torchjd_internals import aggregator_state, famo_state, famo_weights, set_famo_losses

pytestmark = pytest.mark.filterwarnings("ignore:.*Solution may be inaccurate.*:UserWarning")

JACOBIAN = torch.tensor([[1.0, 0.2, 0.0], [-0.3, 1.0, 0.5], [0.1, -0.4, 1.0]], dtype=torch.float64)
LOSSES = torch.tensor([1.0, 2.0])

STATEFUL: dict[str, dict[str, Any]] = {"ExcessMTL": {}, "GradVac": {}, "NashMTL": {"n_tasks": 3}, "PCD": {}}
"""Stateful aggregators → the options that they require."""

BUFFERS = {
    "ExcessMTL": {"_weights", "_sq_grad_sum", "_initial_w", "_warmup_w_sum"},
    "GradVac": {"_phi_t"},
    "NashMTL": set(),
    "PCD": {"_sq_norm_ema", "_n_steps"},
}
NUMBERS_AND_ARRAYS = {
    "ExcessMTL": {"_robust_step_size", "_n_warmup_steps", "_n_steps"},
    "GradVac": {"_beta", "_eps"},
    "NashMTL": {
        *("_n_tasks", "_optim_niter", "_update_weights_every", "_max_norm"),
        *("normalization_factor", "init_gtg", "step", "prvs_alpha"),
    },
    "PCD": {"_tau", "_beta", "_eps", "_state_key"},
}
REBUILT = {
    "ExcessMTL": {"_state_key"},
    "GradVac": {"_state_key"},
    "NashMTL": {
        *("alpha_param", "prvs_alpha_param", "G_param", "normalization_factor_param"),
        *("phi_alpha", "prob"),
    },
    "PCD": set(),
}
"""Attributes of neither kind: an aggregator derives them from the first Jacobian or from the attributes above."""


def own_attributes(module: nn.Module) -> set[str]:
    return set(vars(module)) - set(vars(nn.Module()))


class TestFamo:
    def test_attributes(self) -> None:
        famo = FAMO(2)
        assert own_attributes(famo) == {"lr", "weight_decay", "_optimizer", "_prev_losses"}
        assert list(famo._parameters) == ["_w"]
        assert list(famo._buffers) == ["min_losses"]
        assert famo._optimizer is famo._prev_losses is None
        assert list(famo_state(famo)) == ["logits"]

    def test_state_after_call_update_and_reset(self) -> None:
        famo = FAMO(2)
        famo(LOSSES)
        assert torch.equal(famo._prev_losses, LOSSES)
        set_famo_losses(famo, 2 * LOSSES)
        famo.update(LOSSES * torch.tensor([1.0, 0.5]))
        assert isinstance(famo._optimizer, Adam)
        assert [group["params"] for group in famo._optimizer.param_groups] == [[famo._w]]
        assert set(famo_state(famo)) == {"logits", "previous_losses", "moments"}
        assert famo._w[0] > famo._w[1]  # the second task improved more, so its weight decreases
        assert set(famo_state(famo)["moments"]) == {"step", "exp_avg", "exp_avg_sq"}
        famo.reset()
        assert famo._optimizer is famo._prev_losses is None
        assert famo._w.tolist() == [0.0, 0.0]

    def test_the_next_update_compares_with_the_losses_that_were_set(self) -> None:
        """δ = log 4 − log 1 for both tasks: with equal changes the gradient of softmax(w) vanishes, w stays 0."""
        famo = FAMO(2, weight_decay=0.0)
        famo(LOSSES)
        set_famo_losses(famo, torch.tensor([4.0, 8.0]))
        famo.update(LOSSES)
        assert famo._w.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)

    def test_weights_leave_the_state_alone(self) -> None:
        famo = FAMO(2)
        famo(LOSSES)
        assert famo_weights(famo, 3 * LOSSES).tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
        assert torch.equal(famo._prev_losses, LOSSES)
        assert famo._w.grad is None


class TestAggregators:
    def test_which_are_stateful(self) -> None:
        found = {
            name
            for name, value in vars(aggregation).items()
            if inspect.isclass(value) and hasattr(value, "reset") and not name.endswith("Weighting")
        }
        assert found == set(STATEFUL)

    @pytest.mark.parametrize("name", STATEFUL)
    def test_attributes_of_the_state(self, name: str) -> None:
        """All state is in one module below the aggregator, in buffers, numbers and arrays; the rest is rebuilt."""
        aggregator = getattr(aggregation, name)(**STATEFUL[name])
        aggregator(JACOBIAN)
        modules = {path: module for path, module in aggregator.named_modules() if path and hasattr(module, "reset")}
        ((path, module),) = modules.items()
        assert own_attributes(aggregator) == set()
        assert set(module._buffers) == BUFFERS[name]
        assert own_attributes(module) == NUMBERS_AND_ARRAYS[name] | REBUILT[name]
        state = aggregator_state(aggregator)
        assert set(state) == {f"{path}.{attribute}" for attribute in BUFFERS[name] | NUMBERS_AND_ARRAYS[name]}
        for attribute in REBUILT[name]:
            assert not isinstance(vars(module)[attribute], int | float | np.ndarray)

    @pytest.mark.parametrize("name", STATEFUL)
    def test_the_state_changes_from_call_to_call(self, name: str) -> None:
        aggregator = getattr(aggregation, name)(**STATEFUL[name])
        aggregator(JACOBIAN)
        before = aggregator_state(aggregator)
        aggregator(2 * JACOBIAN.flip(0))
        after = aggregator_state(aggregator)
        assert before.keys() == after.keys()
        assert any(not np.array_equal(before[key], after[key]) for key in before)

    def test_a_stateless_aggregator_has_no_state(self) -> None:
        aggregator = aggregation.UPGrad()
        aggregator(JACOBIAN)
        assert aggregator_state(aggregator) == {}
