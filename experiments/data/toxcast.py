"""ToxCast: molecules and which of many laboratory assays they set off. Many tasks, one row a molecule.

A molecule is its fingerprint of 1024 bits and eight descriptors. A molecule that an assay never tested has null there.
"""

from __future__ import annotations

from pathlib import Path

from experiments.data import table
from experiments.data.table.rows import Files

FINGERPRINT = "fp1024"
BITS = 1024
DESCRIPTORS = ("mol_wt", "logp", "tpsa", "hbd", "hba", "rot_bonds", "rings", "csp3")
PREFIX = "y_"
"""Columns that start so are labels."""


def prepare(path: str | None, cache: Path) -> Path:
    """Prepare the molecules.

    Args:
        path: The Parquet file, or a folder of them.
        cache: Where the prepared folder goes.

    Returns:
        The prepared folder, with a binary label for every column that starts with :data:`PREFIX`.

    Raises:
        FileNotFoundError: There is no Parquet file at ``path``.
        ValueError: ``path`` is ``None``, or the table cannot be used.
    """
    if path is None:
        raise ValueError(
            "data.path is null, and ToxCast comes with no package. Get toxcast_data.csv.gz from "
            f"https://moleculenet.org, add {FINGERPRINT} ({BITS} bits of a Morgan fingerprint, numpy.packbits) and the "
            f"descriptors {list(DESCRIPTORS)}, name the assays {PREFIX}…, add split (train, valid, test), write one "
            "Parquet file, and set data.path to it"
        )
    names = Files(path).names
    labels = [name for name in names if name.startswith(PREFIX)]
    if not labels:
        raise ValueError(f"{path} has no column that starts with {PREFIX!r}, it has {list(names)}; name the assays so")
    return table.prepare(
        path,
        cache,
        numeric=DESCRIPTORS,
        labels=dict.fromkeys(labels, 2),
        packed={FINGERPRINT: BITS},
    )
