"""The benchmark of predictions: its loop gives what ``nmt predict`` gives, and memory is measured apart."""

from __future__ import annotations

import re

import pytest

from nmt.experiments.benchmarks.predict_throughput import main


def test_it_prints_a_ratio_and_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rows", "3000", "--rounds", "1", "--many", "0"])
    shown = capsys.readouterr().out
    assert re.search(r"\| nmt predict \| a bare loop \| \d+\.\d{3} \(", shown)
    assert re.search(r"\| 3,000 \| \d\.\d\d \|", shown)
