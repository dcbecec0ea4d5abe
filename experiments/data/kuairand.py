"""KuaiRand: a log of short videos shown to users, with what they did (like, watch to the end, …).

The table is the log of KuaiRand-Pure joined with its user and video features, under the official column names, as
Parquet. Of the features, those that the table has are used; the core columns are required.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.data import table
from experiments.data.rows import Files

CORE = ("user_id", "video_id", "split")
"""Columns that the table must have, beside the labels."""

CATEGORICAL = (
    *("user_id", "video_id", "author_id", "music_id", "tag", "tab", "hourmin"),
    *("video_type", "upload_type", "music_type", "upload_date"),
    *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"),
    *("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"),
    *(f"onehot_feat{i}" for i in range(18)),
)
COUNTS = (
    *("duration_ms", "server_width", "server_height"),
    *("follow_user_num", "fans_user_num", "friend_user_num", "register_days"),
)
"""Counts, sizes and durations, taken as log(1 + x)."""

LABELS = ("is_like", "finish")
MORE_LABELS = ("is_click", "long_view", "is_profile_enter")
"""Labels that are prepared when the table has them."""

OUTCOMES = frozenset(
    {
        *("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter"),
        *("long_view", "finish", "finish95", "play_time_ms", "profile_stay_time", "comment_stay_time"),
    }
)
"""What the user did with the video: labels at most, never features."""


def prepare(path: str | None, cache: Path, *, labels: Sequence[str] | None = None, min_count: int = 5) -> Path:
    """Prepare the KuaiRand log.

    Args:
        path: The Parquet file, or a folder of them.
        cache: Where the prepared folder goes.
        labels: The binary outcomes to prepare as labels; ``None`` takes :data:`LABELS`, and of :data:`MORE_LABELS`
            those that the table has. The rare ones (follow, forward, hate, comment) must be named.
        min_count: Tokens seen in fewer training rows than this share the id OOV.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: There is no Parquet file at ``path``.
        ValueError: ``path`` is ``None``, a label is no outcome of the log, or the table cannot be used.
    """
    if path is None:
        raise ValueError(
            "data.path is null, and KuaiRand comes with no package. Get KuaiRand-Pure from https://kuairand.com, join "
            "log_standard_*.csv with user_features_pure.csv on user_id and video_features_basic_pure.csv on video_id, "
            "add finish (1 when play_time_ms >= duration_ms, else 0) and split (train, valid, test, by date), "
            "write one Parquet file, and set data.path to it"
        )
    there = set(Files(path).names)
    if labels is None:
        labels = (*LABELS, *(name for name in MORE_LABELS if name in there))
    allowed = sorted(OUTCOMES - {"play_time_ms", "profile_stay_time", "comment_stay_time"})
    if wrong := [name for name in labels if name not in allowed]:
        raise ValueError(f"labels names {wrong}, which are no binary outcomes of the log; allowed are {allowed}")
    return table.prepare(
        path,
        cache,
        categorical=[name for name in CATEGORICAL if name in there or name in CORE],
        numeric=[name for name in COUNTS if name in there],
        labels=dict.fromkeys(labels, 2),
        min_count=min_count,
        log1p=[name for name in COUNTS if name in there],
    )
