"""TikTok: 276 million videos shown, from track 1 of the ICME 2019 short-video challenge.

The official file is ``final_track1_train.txt``: tab-separated, without a header, the fields of :data:`FIELDS`. Features
are the eight of :data:`CATEGORICAL`, tokens even where they look like numbers; the user's city and the time are none.
Rows are divided at random, 81 : 9 : 10, as scikit-learn divides them. Tokens of fewer than 10 training rows are OOV.
"""

from __future__ import annotations

from pathlib import Path

from experiments.data.official import preparation
from experiments.data.official.random_log import random_log
from experiments.data.official.recipe import Format, Recipe

FILE = "final_track1_train.txt"
FIELDS = (
    *("uid", "user_city", "item_id", "author_id", "item_city", "channel", "finish", "like"),
    *("music_id", "device_id", "create_time", "video_duration"),
)
CATEGORICAL = ("uid", "item_id", "author_id", "item_city", "channel", "music_id", "device_id", "video_duration")
LABELS = ("like", "finish")
"""In the paper's order of priority."""


def recipe(path: str | None, *, min_count: int = 10, seed: int = 42, max_damaged: float = 0.001) -> Recipe:
    """What becomes of the file.

    Args:
        path: The file, or the folder that it lies in.
        min_count: Tokens seen in fewer training rows than this share the id OOV.
        seed: Seed of the division; the published one is 42.
        max_damaged: Largest share of damaged lines.

    Raises:
        ValueError: ``path`` is ``None``, or an option cannot be used.
    """
    return random_log(
        "tiktok",
        "TikTok, ICME 2019 short-video challenge, track 1",
        path,
        FILE,
        Format("\t", FIELDS),
        CATEGORICAL,
        LABELS,
        "TikTok comes with no package. Register for track 1 of the ICME 2019 short-video challenge "
        "(https://www.biendata.xyz/competition/icmechallenge2019/)",
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
