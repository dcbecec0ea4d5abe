"""A small table of raw rows, and an experiment on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TASKS = ("like", "finish")


def write_table(folder: Path, rows: int = 600) -> pd.DataFrame:
    """Write ``rows.parquet``: tokens, numbers, and two labels that depend on them."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"user": draw.integers(0, 20, rows).astype(str), "age": draw.normal(40, 10, rows)})
    frame["like"] = draw.binomial(1, 1 / (1 + np.exp(3 - frame["user"].astype(int) % 5)))
    frame["finish"] = draw.binomial(1, 1 / (1 + np.exp(4 - frame["age"] / 10)))
    frame["split"] = draw.choice(["train", "valid", "test"], rows, p=[0.6, 0.2, 0.2])
    frame.to_parquet(folder / "rows.parquet")
    return frame


def experiment() -> dict[str, Any]:
    """Return an experiment on it that takes a few steps, in the current folder."""
    return {
        "name": "visits",
        "data": {
            "source": "experiments.data.table",
            "path": "rows.parquet",
            "batch_size": 128,
            "options": {"categorical": ["user"], "numeric": ["age"], "labels": list(TASKS)},
        },
        "tasks": [{"name": name, "loss": "binary_cross_entropy"} for name in TASKS],
        "model": {"name": "shared_bottom", "embedding_dim": 4, "bottom_units": [8], "tower_units": [4]},
        "training": {"max_epochs": 1},
        "sweep": {"eta_theta": [0.001, 0.003]},
    }
