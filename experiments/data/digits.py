"""MultiDigits: two overlapping handwritten digits; the tasks are to read the left one and the right one.

A small MultiMNIST made of scikit-learn's ``load_digits`` (1,797 images of 8×8 pixels), so there is nothing to download.
The left digit fills columns 0 to 7 of the picture, the right digit columns 4 to 11. Where they overlap, the brighter
pixel wins. Each image is used in one split only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.experiments.data import table
from nmt.experiments.data.common.cache import prepare_once
from nmt.experiments.data.table.raw_table import MemoryTable
from nmt.experiments.data.table.roles import Roles

RECIPE = 1
"""Version of this preparation, part of the cache key: raise it when the pictures change."""

SIDE = 8
SHIFT = 4
"""Columns by which the right digit is shifted; ``SIDE - SHIFT`` columns overlap."""

LABELS = {"left": 10, "right": 10}


def prepare(
    path: str | None, cache: Path, *, train: int = 8000, valid: int = 1000, test: int = 2000, seed: int = 0
) -> Path:
    """Compose pictures of two digits.

    Args:
        path: Must be ``None``; the images come with scikit-learn.
        cache: Folder of prepared folders.
        train: Pictures in the training split.
        valid: Pictures in the validation split.
        test: Pictures in the test split.
        seed: Seed of the split of images and of the random pairs.

    Returns:
        The prepared folder: a numeric column ``pixel_ROW_COLUMN`` per pixel (0 to 1), the labels ``left`` and
        ``right`` with ten classes each.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: ``path`` is given, or a split would be empty.
    """
    if path is not None:
        raise ValueError(f"data.path is {path!r}; the digits come with scikit-learn, set data.path to null")
    sizes = {"train": train, "valid": valid, "test": test}
    if wrong := {name: size for name, size in sizes.items() if size < 10}:
        raise ValueError(f"sizes {wrong} are too small; give each of {list(sizes)} 10 pictures or more")

    def build(folder: Path) -> None:
        rows = MemoryTable(pictures(sizes, seed))
        pixels = [name for name in rows.names if name.startswith("pixel_")]
        table.build(rows, Roles(numeric=pixels, labels=LABELS), folder, source=f"MultiDigits, seed {seed}")

    return prepare_once(cache, "digits", {"recipe": (RECIPE, table.RECIPE), "sizes": sizes, "seed": seed}, build)


def pictures(sizes: dict[str, int], seed: int) -> pa.Table:
    """Compose the pictures of all splits, one row each.

    Args:
        sizes: Split → number of pictures.
        seed: Seed of the split of images and of the random pairs.

    Returns:
        ``split``, ``left_image`` and ``right_image`` (image numbers), ``left``, ``right`` and the pixels.
    """
    images, digits = _images()
    rng = np.random.default_rng(seed)
    bounds = np.cumsum([0, *sizes.values()]) * len(images) // sum(sizes.values())
    shuffled = rng.permutation(len(images))
    drawn = [
        rng.choice(shuffled[low:high], (size, 2))
        for low, high, size in zip(bounds[:-1], bounds[1:], sizes.values(), strict=True)
    ]
    left, right = np.concatenate(drawn).T
    canvas = np.zeros((len(left), SIDE, SIDE + SHIFT))
    canvas[:, :, :SIDE] = images[left]
    canvas[:, :, SHIFT:] = np.maximum(canvas[:, :, SHIFT:], images[right])
    columns = {
        "split": np.repeat(list(sizes), list(sizes.values())),
        "left_image": left,
        "right_image": right,
        "left": digits[left],
        "right": digits[right],
    }
    for row, column in np.ndindex(SIDE, SIDE + SHIFT):
        columns[f"pixel_{row}_{column}"] = canvas[:, row, column]
    return pa.table(columns)


def _images() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed; run: pip install 'no-more-tuning[digits]'"
        ) from error
    found = load_digits()
    return np.asarray(found.images) / found.images.max(), np.asarray(found.target)
