"""Names that MLflow takes: of metrics, params, tags, runs and folders of artifacts."""

from __future__ import annotations

import hashlib
import re

MOST = 250
"""Most characters of a key, and of the name of a run."""

_REFUSED = re.compile(r"[^/\w.\- :]")
"""What MLflow refuses in a key (``mlflow.utils.validation``)."""


def valid_key(name: str) -> str:
    """Return a key of a metric, param or tag that MLflow takes; one that it takes already is left as it is.

    Other characters become ``_``, and a hash of the name follows, so that different names stay different:
    ``test/auc/CTR (7d)`` → ``test/auc/CTR _7d_-3f2a91``.
    """
    parts = name.split("/")
    clean = "/".join("_" if part in ("", ".", "..") else _REFUSED.sub("_", part) for part in parts)
    if clean == name and len(name) <= MOST:
        return name
    return f"{clean[: MOST - 7]}-{_digest(name)}"


def run_name(name: str) -> str:
    """Return the name of a run, cut to what MLflow keeps."""
    return name if len(name) <= MOST else f"{name[: MOST - 1]}…"


def folder_name(name: str) -> str:
    """Return the name of a folder for something that people named: never a path, and different for different names."""
    if re.fullmatch(r"[\w\-][\w.\- ]{0,99}", name, re.ASCII):
        return name
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', name)[:40]}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
