"""QK-Video: 120 million videos shown, from Tenrec.

The official file is ``ctr_data_1M.csv``, comma-separated, with a header. The published work gives no script, so the
recipe is TikTok's (:mod:`experiments.data.tiktok`): tokens, divided at random 81 : 9 : 10, OOV below 10 training rows.
Features are all columns that are known before the video is shown; each has a vocabulary of its own, the ten videos
watched before (``hist_1`` … ``hist_10``, 0 where there are fewer) too. ``follow``, ``share`` and ``watching_times``
are outcomes, and no features.
"""

from __future__ import annotations

from pathlib import Path

from experiments.data.official import preparation
from experiments.data.official.random_log import random_log
from experiments.data.official.recipe import Format, Recipe

FILE = "ctr_data_1M.csv"
CATEGORICAL = ("user_id", "item_id", "video_category", "gender", "age", *(f"hist_{i}" for i in range(1, 11)))
LABELS = ("like", "click")
"""In the paper's order of priority."""

OUTCOMES = frozenset({"click", "follow", "like", "share", "watching_times"})
"""What the user did with the video: labels at most, never features."""


def recipe(path: str | None, *, min_count: int = 10, seed: int = 42, max_damaged: float = 0.001) -> Recipe:
    """What becomes of the file.

    Args:
        path: The file, or the folder that it lies in.
        min_count: Tokens seen in fewer training rows than this share the id OOV.
        seed: Seed of the division.
        max_damaged: Largest share of damaged lines.

    Raises:
        ValueError: ``path`` is ``None``, or an option cannot be used.
    """
    return random_log(
        "qk_video",
        "QK-Video (Tenrec), ctr_data_1M",
        path,
        FILE,
        Format(","),
        CATEGORICAL,
        LABELS,
        "QK-Video comes with no package. Sign Tenrec's licence at https://github.com/yuangh-x/2022-NIPS-Tenrec",
        min_count=min_count,
        seed=seed,
        max_damaged=max_damaged,
    )


def prepare(path: str | None, cache: Path, *, min_count: int = 10, seed: int = 42, max_damaged: float = 0.001) -> Path:
    """Prepare the file in this process; ``nmt data prepare`` uses all of them.

    Args:
        path: The file, or the folder that it lies in.
        cache: Where the prepared folder goes.
        min_count: Tokens seen in fewer training rows than this share the id OOV.
        seed: Seed of the division.
        max_damaged: Largest share of damaged lines.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: ``path`` is ``None``, an option or the file cannot be used.
    """
    return preparation.prepare(recipe(path, min_count=min_count, seed=seed, max_damaged=max_damaged), cache)
