"""Adult: persons of the 1994 census of the United States, with four binary questions about each.

Two kinds of input: a Parquet table with a ``split`` column, or the official files ``adult.data`` and ``adult.test``.
``adult.test`` is the test split. A random tenth of ``adult.data``, drawn as scikit-learn draws it, is the validation
split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data import table
from nmt.experiments.data.official import preparation
from nmt.experiments.data.official.held_out import TEST, TRAIN, HeldOut
from nmt.experiments.data.official.recipe import SPLIT, Recipe
from nmt.experiments.data.official.text.format import Format

CATEGORICAL = ("workclass", "occupation", "race", "gender", "native_country")
NUMERIC = ("age", "fnlwgt", "capital_loss", "hours_per_week")

LABELS = ("y_income50k", "y_never_married", "y_college", "y_capital_gain")

OUTCOMES = frozenset({"income", "marital_status", "relationship", "education", "educational_num", "capital_gain"})
"""No features: the columns that labels are made of, and ``relationship``, which gives away ``marital_status``."""

FILES = ("adult.data", "adult.test")
"""The official files."""

FIELDS = (
    *("age", "workclass", "fnlwgt", "education", "educational_num", "marital_status", "occupation", "relationship"),
    *("race", "gender", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
)
"""The fields of the official files in order, under the names of the Parquet table."""

COLLEGE = ("Bachelors", "Masters", "Prof-school", "Doctorate")


def is_official(path: str) -> bool:
    """Return whether a path is a folder with an official file, or an official file."""
    location = Path(path).expanduser()
    return location.name in FILES or (location.is_dir() and any((location / name).is_file() for name in FILES))


def recipe(path: str | None, *, min_count: int = 5, seed: int = 42, max_damaged: float = 0.001) -> Recipe:
    """Declare how the official files are prepared.

    Args:
        path: The folder with both files, or one of the files.
        min_count: Tokens that fewer training rows have share the id OOV.
        seed: Seed of the random validation split.
        max_damaged: Largest share of damaged lines that is accepted.

    Raises:
        ValueError: ``path`` does not name the official files, or an option is out of range.
    """
    if path is None or not is_official(path):
        raise ValueError(f"{path} is not a folder with {' and '.join(FILES)}; {_DOWNLOAD}")
    location = Path(path).expanduser()
    folder = location if location.is_dir() else location.parent
    return Recipe(
        name="adult",
        source="Adult, official files",
        files=tuple(folder / name for name in FILES),
        form=Format(",", FIELDS, comment="|", trim=True),
        tokens=(*CATEGORICAL, "income", "marital_status", "education"),
        numbers=(*NUMERIC, "capital_gain"),
        categorical=CATEGORICAL,
        numeric=NUMERIC,
        log1p=frozenset({"fnlwgt", "capital_loss"}),
        labels=dict.fromkeys(LABELS, 2),
        min_count=min_count,
        held_out=HeldOut(test=0.0, seed=seed),
        derive=_derive,
        splits=True,
        max_damaged=max_damaged,
    )


def _derive(rows: pa.Table, path: str) -> pa.Table:
    """Add labels and split to official rows; an income of another value becomes NaN, which counts as damaged."""
    income = pc.utf8_rtrim(pc.cast(rows["income"], pa.string()), ".")
    rich = pc.equal(income, ">50K").to_numpy()
    known = pc.is_in(income, value_set=pa.array(["<=50K", ">50K"])).to_numpy()
    single = pc.equal(pc.cast(rows["marital_status"], pa.string()), "Never-married")
    college = pc.is_in(pc.cast(rows["education"], pa.string()), value_set=pa.array(COLLEGE))
    found = {
        "y_income50k": np.where(known, rich == True, np.nan),  # noqa: E712 - nulls
        "y_never_married": pc.cast(single, pa.float64()).to_numpy(),
        "y_college": pc.cast(college, pa.float64()).to_numpy(),
        "y_capital_gain": (rows["capital_gain"].to_numpy() > 0).astype(np.float64),
        SPLIT: np.full(rows.num_rows, TEST if Path(path).name == FILES[1] else TRAIN, np.int8),
    }
    for name, values in found.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


_DOWNLOAD = "get them from https://archive.ics.uci.edu/dataset/2/adult"


def prepare(path: str | None, cache: Path, *, min_count: int = 5) -> Path:
    """Prepare the persons of the census.

    Args:
        path: The folder with the official files; or a Parquet file, or a folder of them.
        cache: Folder of prepared folders.
        min_count: Tokens that fewer training rows have share the id OOV.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: ``path`` is ``None``, or a file cannot be used.
    """
    if path is None:
        raise ValueError(
            "data.path is null, and no package contains Adult. Get it from https://archive.ics.uci.edu/dataset/2/adult"
            f" and set data.path to the folder with {' and '.join(FILES)}; or to a Parquet file with the columns "
            f"{[*CATEGORICAL, *NUMERIC]}, the labels {list(LABELS)} (0 or 1) and split (train, valid, test)"
        )
    if is_official(path):
        return preparation.prepare(recipe(path, min_count=min_count), cache)
    return table.prepare(
        path,
        cache,
        categorical=CATEGORICAL,
        numeric=NUMERIC,
        labels=dict.fromkeys(LABELS, 2),
        min_count=min_count,
        log1p=("fnlwgt", "capital_loss"),
    )
