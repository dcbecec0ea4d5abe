"""Adult: persons of the 1994 census of the United States, with four questions about each."""

from __future__ import annotations

from pathlib import Path

from experiments.data import table

CATEGORICAL = ("workclass", "occupation", "race", "gender", "native_country")
NUMERIC = ("age", "fnlwgt", "capital_loss", "hours_per_week")

LABELS = ("y_income50k", "y_never_married", "y_college", "y_capital_gain")

OUTCOMES = frozenset({"income", "marital_status", "relationship", "education", "educational_num", "capital_gain"})
"""What the labels are made from, and ``relationship``, which tells husbands and wives: no features."""


def prepare(path: str | None, cache: Path, *, min_count: int = 5) -> Path:
    """Prepare the census persons.

    Args:
        path: The Parquet file, or a folder of them.
        cache: Where the prepared folder goes.
        min_count: Tokens seen in fewer training rows than this share the id OOV.

    Returns:
        The prepared folder.

    Raises:
        FileNotFoundError: There is no Parquet file at ``path``.
        ValueError: ``path`` is ``None``, or the table cannot be used.
    """
    if path is None:
        raise ValueError(
            "data.path is null, and Adult comes with no package. Get it from https://archive.ics.uci.edu/dataset/2/adult,"
            f" name the columns {[*CATEGORICAL, *NUMERIC]}, add the labels {list(LABELS)} (0 or 1) and split "
            "(train, valid, test), write one Parquet file, and set data.path to it"
        )
    return table.prepare(
        path,
        cache,
        categorical=CATEGORICAL,
        numeric=NUMERIC,
        labels=dict.fromkeys(LABELS, 2),
        min_count=min_count,
        log1p=("fnlwgt", "capital_loss"),
    )
