"""QK-Video: 120 million video impressions, from Tenrec.

The official file is ``ctr_data_1M.csv``, comma-separated, with a header. The paper gives no script for it, so the
recipe is TikTok's (:mod:`nmt.experiments.data.tiktok`): tokens, a random split 81 : 9 : 10, OOV below 10 training rows.
Features are all columns known before the video is shown. Each has its own vocabulary, also each of the ten videos
watched before (``hist_1`` … ``hist_10``, 0 where there are fewer). ``follow``, ``share`` and ``watching_times`` are
outcomes, so they are not features.
"""

from __future__ import annotations

from pathlib import Path

from nmt.experiments.data.official import preparation
from nmt.experiments.data.official.random_log import random_log
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.text.format import Format

FILE = "ctr_data_1M.csv"
CATEGORICAL = ("user_id", "item_id", "video_category", "gender", "age", *(f"hist_{i}" for i in range(1, 11)))
LABELS = ("like", "click")
"""In the paper's order of priority."""

OUTCOMES = frozenset({"click", "follow", "like", "share", "watching_times"})
"""What the user did with the video: possible labels, never features."""


def recipe(path: str | None, *, min_count: int = 10, seed: int = 42, max_damaged: float = 0.001) -> Recipe:
    """Declare how the file is prepared.

    Args:
        path: The file, or its folder.
        min_count: Tokens that fewer training rows have share the id OOV.
        seed: Seed of the random split.
        max_damaged: Largest share of damaged lines that is accepted.

    Raises:
        ValueError: ``path`` is ``None``, or an option is out of range.
    """
    return random_log(
        "qk_video",
        "QK-Video (Tenrec), ctr_data_1M",
        path,
        FILE,
        Format(","),
        CATEGORICAL,
        LABELS,
        "no package contains QK-Video. Sign Tenrec's licence at https://github.com/yuangh-x/2022-NIPS-Tenrec",
        min_count=min_count,
        seed=seed,
        max_damaged=max_damaged,
    )


def prepare(path: str | None, cache: Path, *, min_count: int = 10, seed: int = 42, max_damaged: float = 0.001) -> Path:
    """Prepare the file in this process; ``nmt data prepare`` uses all cores.

    Args:
        path: The file, or its folder.
        cache: Folder of prepared folders.
        min_count: Tokens that fewer training rows have share the id OOV.
        seed: Seed of the random split.
        max_damaged: Largest share of damaged lines that is accepted.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: ``path`` is ``None``, an option is out of range, or the file cannot be used.
    """
    return preparation.prepare(recipe(path, min_count=min_count, seed=seed, max_damaged=max_damaged), cache)
