"""Whether a user's own code has changed since a chain was trained."""

from __future__ import annotations

from dataclasses import replace

from nmt.orchestrator.experiment.prepared import PreparedExperiment
from nmt.orchestrator.tracking.manifests.store import ManifestStore
from nmt.trainers.store.stage_store import StageStore


def changed_code(prepared: PreparedExperiment) -> tuple[str, ...]:
    """Return the import paths whose source differs from that of the last chain that was alike in all else.

    Args:
        prepared: The experiment; where its chain is finished, nothing has changed.
    """
    spec, storage = prepared.spec, prepared.experiment.storage
    keys = spec.stage_keys()
    if not spec.code or StageStore(storage).read(keys[-1]) is not None:
        return ()
    manifests = ManifestStore(storage)
    try:
        found = [kept for name in manifests.names() if (kept := manifests.find(name)) is not None]
    except OSError:
        return ()
    alike = [kept for kept in found if replace(kept.spec, code=spec.code).stage_keys() == keys]
    if not alike:
        return ()
    before = max(alike, key=lambda kept: kept.started).spec.code
    return tuple(name for name, digest in spec.code.items() if before.get(name) != digest)
