"""The benchmark of days in turn, on small ones and without Ray."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nmt.experiments.benchmarks import refresh_days
from nmt.orchestrator.refresh import refresh
from nmt.orchestrator.refresh.days import Days
from tests.orchestrator._ranker import declare, run_here


def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in (refresh_days, refresh):
        monkeypatch.setattr(module, "run_experiment", lambda prepared, *others, **options: run_here(prepared))
    rng = np.random.default_rng(0)
    n = 300
    parts = []
    for day in range(5):
        user = rng.integers(0, 10 + 5 * day, n)
        labels = {name: rng.integers(0, 2, n).astype(float) for name in ("click", "buy")}
        columns = {"date": [f"2026-11-0{day + 1}"] * n, "user": user, "price": rng.lognormal(size=n)}
        parts.append(pa.table({**columns, **labels}))
    pq.write_table(pa.concat_tables(parts), tmp_path / "log.parquet")
    file = declare(tmp_path, "ranker", str(tmp_path / "log.parquet"), training={"max_epochs": 1, "eta_theta": 0.01})
    refresh_days.main([str(file), "--days", "2", "--seeds", "2", "--folder", str(tmp_path / "found")])

    table = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2 * 2  # head, and two tasks on each day
    first, second = table[2], table[4]
    assert (first[0], first[1], first[2]) == ("2026-11-04", "600", "0")
    assert (second[0], second[1]) == ("2026-11-05", "900")
    assert int(second[2]) > 0  # new users, each an id
    assert first[3] == first[4]  # the first day is a chain like any other
    assert re.fullmatch(r"[+-]\d\.\d{4} ± \d\.\d{4}", second[7])
    days = Days(str(tmp_path / "found" / "runs"), "ranker-all-1").read()
    assert [day.previous_day for day in days] == [0, 1]


def test_too_few_days_before(tmp_path: Path) -> None:
    rows = pa.table({"date": [1, 2, 3]})
    with pytest.raises(ValueError, match="2 has 1 days before it in the data, two are needed"):
        refresh_days.write_day(rows, "date", [1, 2, 3], 1, None, tmp_path / "day.parquet")
    assert refresh_days.write_day(rows, "date", [1, 2, 3], 2, None, tmp_path / "day.parquet") == 1
