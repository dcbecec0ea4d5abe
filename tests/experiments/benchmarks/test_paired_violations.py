"""The benchmark of paired violations: its arithmetic on known noise, and a small run of all of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nmt import Multipliers
from nmt.experiments.benchmarks.paired_violations import (
    NEXT,
    SIZES,
    SLACKS,
    STEPS,
    Spread,
    draw_figure,
    draw_violations,
    drift_table,
    main,
    simulate_drift,
    simulate_drifts,
    variance_table,
)
from tests.experiments.data.test_sources import ROWS, synthetic_kuairand


def known(size: int, point: str = NEXT) -> Spread:
    """Draw violations of losses with deviation 0.5 that changed by 0.01 ± 0.05 each."""
    generator = torch.Generator().manual_seed(1)
    reference = torch.randn(20_000, generator=generator).double() * 0.5 + 2.0
    losses = reference + 0.01 + 0.05 * torch.randn(20_000, generator=generator).double()
    return draw_violations(point, losses, reference, size, 4000, seed=size)


@pytest.mark.parametrize("size", SIZES[:3])
def test_both_have_the_mean_and_their_own_noise(size: int) -> None:
    found = known(size)
    assert found.violation == pytest.approx(0.01, abs=0.002)
    for drawn, deviation in ((found.plain, math.hypot(0.5, 0.05)), (found.paired, 0.05)):
        assert drawn.shape == (4000,)
        assert abs(found.z_score(drawn)) < 4
        assert float(drawn.std()) == pytest.approx(deviation / math.sqrt(size), rel=0.05)
    assert found.ratio == pytest.approx(101, rel=0.1)


def test_draws_of_both_are_the_same_minibatches() -> None:
    """If all losses change by the same amount, pairing removes all noise."""
    reference = torch.randn(500).double()
    found = draw_violations("near", reference + 0.25, reference, 16, 200)
    assert found.paired.tolist() == pytest.approx([0.25] * 200, abs=1e-12)
    assert float(found.plain.std()) > 0.1


def test_lambda_is_what_multipliers_make_of_it() -> None:
    noise = torch.randn(300, generator=torch.Generator().manual_seed(2)).double()
    found = simulate_drift(noise, 0.1, rate=0.5, runs=3)
    violations = (noise - noise.mean() - 0.1).reshape(100, 3)
    multipliers = Multipliers([0.0] * 3, rate=0.5, initial=0.0)
    for step, row in enumerate(violations):
        multipliers.ascend_by(row)
        assert found.trace[step].tolist() == pytest.approx(multipliers.values.tolist(), abs=1e-12)
    assert int((found.trace == 0).sum()) > 3


def test_noise_alone_holds_lambda_up() -> None:
    """Mean λ is near the formula for many small steps, proportional to the variance, and 0 without noise."""
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(3)).double()
    found = simulate_drift(noise, 0.1, rate=0.1, runs=20)
    assert found.theory == pytest.approx(0.1 / 0.2, rel=0.01)
    assert found.mean == pytest.approx(found.theory, rel=0.15)
    assert 0 < found.error < 0.1 * found.mean
    assert simulate_drift(0.5 * noise, 0.1, rate=0.1, runs=20).mean < 0.3 * found.mean
    assert simulate_drift(0.0 * noise, 0.1, rate=0.1, runs=20).mean == 0.0


def test_tables() -> None:
    spreads = [known(size) for size in SIZES[:2]]
    rows = variance_table(spreads).splitlines()
    assert len(rows) == 4
    assert rows[2].startswith(f"| {NEXT} | +0.0")
    assert " | 8 | " in rows[2]
    drifts = simulate_drifts(spreads, rate=0.1, runs=4)
    assert [one.slack for one, _ in drifts] == list(SLACKS)
    assert all(calm.mean < noisy.mean for noisy, calm in drifts)
    rows = drift_table(drifts).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 0.002", "| 0.005", "| 0.01"]
    assert {row.count("|") for row in rows} == {7}


def test_picture(tmp_path: Path) -> None:
    spreads = [known(size, point) for point in ("1 step from θ*", NEXT) for size in SIZES]
    figure = draw_figure(spreads, simulate_drifts(spreads, rate=0.1, runs=4))
    figure.savefig(tmp_path / "picture.png", dpi=40)
    left, right = figure.axes
    texts = [text.get_text() for text in left.texts]
    assert texts[0].startswith("plain")
    assert any("1 step from θ*: variance ÷ 1" in text for text in texts)
    assert right.get_legend() is not None


@pytest.mark.slow
def test_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    columns = synthetic_kuairand(rng)
    for label, feature in (("is_like", "tab"), ("finish", "onehot_feat0")):  # something to learn
        columns[label] = (columns[feature] > 9) ^ (rng.random(ROWS) < 0.2)
        columns[label] = columns[label].astype(np.int64)
    columns["split"] = ["train"] * (ROWS - 100) + ["valid"] * 50 + ["test"] * 50
    pq.write_table(pa.table(columns), tmp_path / "kuairand.parquet")
    main(
        [
            *(str(tmp_path / "kuairand.parquet"), "--storage", str(tmp_path / "store")),
            *("--steps", "200", "--runs", "4", "--picture", str(tmp_path / "picture.png")),
        ]
    )
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert len(first.splitlines()) == 2 + (len(STEPS) + 1) * len(SIZES)
    assert len(second.splitlines()) == 2 + len(SLACKS)
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
