"""Mixed precision: what is rounded, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.training import Precision
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.stage.precision import computing_in
from nmt.trainers.store.stage_store import StageStore
from tests.trainers._problems import Recorder, binary, chain_spec, conflict, feed_and_model, paper

LEVELS = [[binary("first")], [binary("second")]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conflict(tmp_path_factory.mktemp("precision") / "conflict")


def spec_of(data: Path, precision: Precision) -> ChainSpec:
    training = paper(precision=precision, max_epochs=1, evaluations_per_epoch=1, patience=None)
    return chain_spec(data, LEVELS, training, model="shared_bottom", bottom_units=[8], tower_units=[4])


def test_products_are_bf16_and_parameters_are_not() -> None:
    model = nn.Linear(300, 300)
    inputs = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    plain = model(inputs)
    with computing_in("bf16", model):
        rounded = model(inputs)
        rounded.float().sum().backward()
    assert rounded.dtype == torch.bfloat16
    assert plain.dtype == model.weight.dtype == torch.float32
    assert model.weight.grad is not None
    assert model.weight.grad.dtype == torch.float32
    assert 0 < (rounded - plain).abs().max() < 0.02
    assert torch.equal(model(inputs), plain)


def test_names_in_the_state_stay() -> None:
    model = nn.Linear(2, 2)
    with computing_in("bf16", model):
        assert list(model.state_dict()) == ["weight", "bias"]


def test_a_chain_in_bf16_differs_by_rounding_alone(data: Path, tmp_path: Path) -> None:
    found: dict[Precision, tuple[dict[str, float], dict[str, Tensor]]] = {}
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        spec = spec_of(data, precision)
        feed, model = feed_and_model(spec, data)
        records = run_chain(spec, model, feed, StageStore(str(tmp_path / precision)), Recorder())
        found[precision] = dict(records[-1].losses["train"]), dict(model.state_dict())
    for task, loss in found["fp32"][0].items():
        rounded = found["bf16"][0][task]
        assert rounded != loss
        assert rounded == pytest.approx(loss, rel=0.01)
    assert {value.dtype for value in found["bf16"][1].values()} == {torch.float32}


def test_precision_is_part_of_the_key_and_the_default_leaves_keys_as_they_were(data: Path) -> None:
    plain, rounded = spec_of(data, "fp32"), spec_of(data, "bf16")
    assert not set(plain.stage_keys()) & set(rounded.stage_keys())
    whole = chain_spec(data, LEVELS, paper())
    assert whole.stage_keys() == chain_spec(data, LEVELS, paper(precision="fp32", compile=False)).stage_keys()
