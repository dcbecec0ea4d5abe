"""Replay: a chain's log written from the storage, that is, from its manifest and the records of its stages."""

from __future__ import annotations

from nmt.orchestrator.tracking.chain_log import ChainRun, Timed
from nmt.orchestrator.tracking.manifests.chain_manifest import FINISHED, KILLED, RUNNING, ChainManifest
from nmt.orchestrator.tracking.store import TrackingStore, milliseconds
from nmt.trainers.reporter import StageFinished
from nmt.trainers.store.stage_store import StageStore


def write_finished_stages(run: ChainRun, manifest: ChainManifest, stages: StageStore) -> bool:
    """Write the finished stages that the run lacks; return whether it then has all stages."""
    for stage, key in enumerate(manifest.wanted):
        if run.has_stage(stage):
            continue
        record = stages.read(key)
        if record is None:
            return False
        start = manifest.training_start(record)
        at = milliseconds(manifest.seen if start is None else min(start + record.wall_seconds, manifest.seen))
        run.write([Timed(StageFinished(record, reused=start is None), at)])
    return True


def write_end(run: ChainRun, manifest: ChainManifest, whole: bool) -> str:
    """Write the end of a chain that no longer runs; return its status.

    A killed driver leaves the status ``RUNNING``: the chain then counts as finished if all its stages are there.
    """
    status = manifest.status
    if status == RUNNING:
        status = FINISHED if whole else KILLED
    if status == FINISHED:
        if not whole:
            raise FileNotFoundError(
                f"the record of a stage of {manifest.name} is missing from the storage; run the experiment again"
            )
        run.finish(manifest.wall_seconds, milliseconds(manifest.seen))
    else:
        final = manifest.outcome == "diverged"  # a failed or stopped chain may resume, and its cost will grow
        run.abort(status, milliseconds(manifest.seen), manifest.wall_seconds if final else None)
    return status


def replay(
    manifest: ChainManifest, store: TrackingStore, stages: StageStore, parent: str | None = None
) -> tuple[ChainRun, str]:
    """Log the missing records of a chain that no longer runs.

    Args:
        manifest: The chain.
        store: The tracking store, opened on the manifest's experiment.
        stages: Storage of its stages.
        parent: Run to nest below, or ``None``.

    Returns:
        The run, and the status that the chain ended with.

    Raises:
        FileNotFoundError: A finished chain lacks a stage.
    """
    run = ChainRun.from_manifest(store, manifest, parent)
    if run.finished:
        return run, FINISHED
    return run, write_end(run, manifest, write_finished_stages(run, manifest, stages))
