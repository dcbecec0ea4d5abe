"""TikTok: 276 million video impressions, from track 1 of the ICME 2019 short-video challenge.

The official file is ``final_track1_train.txt``: tab-separated, without a header, with the fields of :data:`FIELDS`. The
features are the eight columns of :data:`CATEGORICAL`, all tokens, even those that look like numbers. The user's city
and the time are not used. Rows are split at random, 81 : 9 : 10, as scikit-learn splits them. Tokens of fewer than 10
training rows are OOV.
"""

from __future__ import annotations

from pathlib import Path

from nmt.experiments.data.official import preparation
from nmt.experiments.data.official.random_log import random_log
from nmt.experiments.data.official.recipe import Recipe
from nmt.experiments.data.official.text.format import Format

FILE = "final_track1_train.txt"
FIELDS = (
    *("uid", "user_city", "item_id", "author_id", "item_city", "channel", "finish", "like"),
    *("music_id", "device_id", "create_time", "video_duration"),
)
CATEGORICAL = ("uid", "item_id", "author_id", "item_city", "channel", "music_id", "device_id", "video_duration")
LABELS = ("like", "finish")
"""In the paper's order of priority."""


def recipe(path: str | None, *, min_count: int = 10, seed: int = 42, max_damaged: float = 0.001) -> Recipe:
    """Declare how the file is prepared.

    Args:
        path: The file, or its folder.
        min_count: Tokens that fewer training rows have share the id OOV.
        seed: Seed of the random split; the published one is 42.
        max_damaged: Largest share of damaged lines that is accepted.

    Raises:
        ValueError: ``path`` is ``None``, or an option is out of range.
    """
    return random_log(
        "tiktok",
        "TikTok, ICME 2019 short-video challenge, track 1",
        path,
        FILE,
        Format("\t", FIELDS),
        CATEGORICAL,
        LABELS,
        "no package contains TikTok. Register for track 1 of the ICME 2019 short-video challenge "
        "(https://www.biendata.xyz/competition/icmechallenge2019/)",
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
