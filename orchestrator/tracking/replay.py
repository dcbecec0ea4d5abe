"""A chain's log written from what is in the storage: its manifest and the records of its stages."""

from __future__ import annotations

from orchestrator.tracking.chain_log import ChainRun, Timed
from orchestrator.tracking.manifests.chain_manifest import FINISHED, KILLED, RUNNING, ChainManifest
from orchestrator.tracking.store import TrackingStore, milliseconds
from trainers.reporter import StageFinished
from trainers.store.stage_store import StageStore


def write_finished_stages(run: ChainRun, manifest: ChainManifest, stages: StageStore) -> bool:
    """Write the stages that are finished and that the run does not have yet; returns whether it has all now."""
    for stage, key in enumerate(manifest.wanted):
        if run.has(stage):
            continue
        record = stages.read(key)
        if record is None:
            return False
        began = manifest.began(record)
        at = milliseconds(manifest.seen if began is None else min(began + record.wall_seconds, manifest.seen))
        run.write([Timed(StageFinished(record, reused=began is None), at)])
    return True


def write_end(run: ChainRun, manifest: ChainManifest, whole: bool) -> str:
    """Write the end of a chain that runs no more; returns its status.

    A driver that was killed could not say how the chain ended: well, when all stages are there.
    """
    status = manifest.status
    if status == RUNNING:
        status = FINISHED if whole else KILLED
    if status == FINISHED:
        if not whole:
            raise FileNotFoundError(
                f"the record of a stage of {manifest.name} is gone from the storage; run the experiment again"
            )
        run.finish(manifest.wall_seconds, milliseconds(manifest.seen))
    else:
        for_good = manifest.outcome == "diverged"  # what failed or was stopped may go on, and costs more by then
        run.abort(status, milliseconds(manifest.seen), manifest.wall_seconds if for_good else None)
    return status


def replay(
    manifest: ChainManifest, store: TrackingStore, stages: StageStore, parent: str | None = None
) -> tuple[ChainRun, str]:
    """Log what is missing of a chain that runs no more.

    Args:
        manifest: The chain.
        store: The tracking store, opened on the manifest's experiment.
        stages: Where its stages are.
        parent: Run to nest below, or ``None``.

    Returns:
        The run, and the status that it ended with.

    Raises:
        FileNotFoundError: A finished chain lacks a stage.
    """
    run = ChainRun.of(store, manifest, parent)
    if run.finished:
        return run, FINISHED
    return run, write_end(run, manifest, write_finished_stages(run, manifest, stages))
