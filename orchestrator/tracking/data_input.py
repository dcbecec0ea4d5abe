"""The data set of a chain, as MLflow shows it among a run's inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

NAME_LENGTH = 500
"""MLflow's limit."""


class DataInput(NamedTuple):
    """A data set.

    Attributes:
        name: Name of its source, or of its folder.
        digest: Fingerprint of the prepared data.
        kind: What kind of place it is from.
        source: The place, as JSON.
    """

    name: str
    digest: str
    kind: str
    source: str


def data_input(params: Mapping[str, str], digest: str) -> DataInput:
    """Return the data set of a chain.

    Args:
        params: The flattened experiment, without credentials.
        digest: Fingerprint of the prepared data.
    """
    given = {key: params.get(f"data.{key}", "None") for key in ("path", "source")}
    path, source = (None if value == "None" else value for value in given.values())
    place = {key: value for key, value in (("uri", path), ("source", source)) if value is not None}
    stem = PurePosixPath(path).stem if path is not None else None
    name = ": ".join(part for part in (source, stem) if part is not None) or "data"
    return DataInput(name[:NAME_LENGTH], digest, _kind(path), json.dumps(place))


def _kind(path: str | None) -> str:
    if path is None:
        return "nmt"
    return path.partition("://")[0] if "://" in path else "local"
