"""ToxCast: molecules, and which of many laboratory assays they activate; one task per assay, one row per molecule.

The features of a molecule are a fingerprint of 1024 bits and eight descriptors. A label is null where the assay did not
test the molecule.
"""

from __future__ import annotations

from pathlib import Path

from nmt.experiments.data import table
from nmt.experiments.data.table.raw_table import ParquetTable, join_names

FINGERPRINT = "fp1024"
BITS = 1024
DESCRIPTORS = ("mol_wt", "logp", "tpsa", "hbd", "hba", "rot_bonds", "rings", "csp3")
PREFIX = "y_"
"""Start of the names of label columns."""


def prepare(path: str | None, cache: Path) -> Path:
    """Prepare the molecules.

    Args:
        path: The Parquet file, or a folder of them.
        cache: Folder of prepared folders.

    Returns:
        The prepared folder, with a binary label for every column that starts with :data:`PREFIX`.

    Raises:
        FileNotFoundError: There is no Parquet file at ``path``.
        ValueError: ``path`` is ``None``, or the table cannot be used.
    """
    if path is None:
        raise ValueError(
            "data.path is null, and no package contains ToxCast. Get toxcast_data.csv.gz from "
            f"https://moleculenet.org, add {FINGERPRINT} ({BITS} bits of a Morgan fingerprint, numpy.packbits) and the "
            f"descriptors {list(DESCRIPTORS)}, name the assays {PREFIX}…, add split (train, valid, test), write one "
            "Parquet file, and set data.path to it"
        )
    names = ParquetTable(path).names
    labels = [name for name in names if name.startswith(PREFIX)]
    if not labels:
        raise ValueError(
            f"{path} has no column that starts with {PREFIX!r}, it has {join_names(names)}; name the assays so"
        )
    return table.prepare(
        path,
        cache,
        numeric=DESCRIPTORS,
        labels=dict.fromkeys(labels, 2),
        packed={FINGERPRINT: BITS},
    )
