"""Figure 1's landscape has a known answer (method.md, §10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.orchestrator.reproduce.command import draw_landscape
from nmt.orchestrator.reproduce.landscape import START, TOLERANCE, descend


def test_both_trajectories_end_at_the_known_answers() -> None:
    found = descend()
    assert found.weighted[-1] == pytest.approx((0.5, 2.0), abs=1e-4)
    assert found.first[-1] == pytest.approx((0.0, START[1]), abs=1e-6)
    assert found.second[0] == found.first[-1]
    assert found.second[-1] == pytest.approx((TOLERANCE**0.5, 2.0), abs=1e-4)
    assert found.multiplier == pytest.approx(1 / TOLERANCE**0.5 - 1, abs=1e-2)


def test_the_picture_is_written(tmp_path: Path) -> None:
    path = draw_landscape(str(tmp_path / "pictures"))
    assert path.read_bytes().startswith(b"\x89PNG")
