"""The verb ``sync``: logs from the storage what tracking stores missed while runs went on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from nmt.orchestrator.credentials import without_credentials
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.summary.wording import NOTHING
from nmt.orchestrator.tracking.backlog import Backlog, LoggedChain


@dataclass(frozen=True)
class SyncOutcome:
    """Outcome of a sync.

    Attributes:
        storage: The storage.
        chains: Chains that were not fully logged before, oldest first.
    """

    storage: str
    chains: tuple[LoggedChain, ...]

    @property
    def complete(self) -> bool:
        """Whether every chain that has ended is fully logged."""
        return all(chain.status in ("logged", "running") for chain in self.chains)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return {
            "storage": self.storage,
            "complete": self.complete,
            "points": sum(chain.points for chain in self.chains),
            "chains": [asdict(chain) for chain in self.chains],
        }


def sync_storage(
    file: str | None, overrides: Sequence[str] = (), storage: str | None = None, tracking: str | None = None
) -> SyncOutcome:
    """Log what tracking lacks of every chain in a storage that has ended. Idempotent.

    A tracking store other than a chain's own gets the whole chain, which restores a lost store.

    Args:
        file: Experiment file; gives the storage, and the credentials of the chains' tracking URI.
        overrides: ``key=value`` assignments to the file.
        storage: Storage, instead of the file's.
        tracking: Tracking URI, instead of the chains' own.

    Raises:
        RequestError: The file or the storage does not exist, or ``tracking`` is not a URI.
    """
    experiment = load(file, overrides) if file is not None else None
    if experiment is None and overrides:
        raise RequestError("--set overrides keys of an experiment file, and none is given; add it: nmt sync FILE")
    if tracking is not None and "://" not in tracking:
        raise RequestError(f"--tracking {tracking!r} is not a URI; give one such as sqlite:///mlflow.db")
    place = _storage(experiment, storage)
    uris = [tracking, experiment.tracking if experiment is not None else None]
    known = {without_credentials(uri): uri for uri in uris if uri is not None}

    def address(kept: str) -> str:
        return tracking or known.get(kept, kept)

    try:
        backlog = Backlog(place, address)
    except ValueError as error:
        raise RequestError(f"--{error}" if storage is not None else str(error)) from error
    return SyncOutcome(without_credentials(place), tuple(backlog.log()))


def sync_table(synced: SyncOutcome) -> Table:
    """Return the outcome as a table for the terminal."""
    table = Table(title=f"chains in {synced.storage} that were not fully logged", title_justify="left")
    table.add_column("chain", no_wrap=True)
    table.add_column("runs", justify="right")
    table.add_column("points logged", justify="right")
    table.add_column("status")
    for chain in synced.chains:
        kind = "" if chain.kind == "chain" else f"{chain.kind} "
        name = f"{chain.experiment} {kind}{chain.chain[:8]}".strip()
        logged = chain.status == "logged"
        ended = f" ({chain.ended.lower()})" if logged and chain.ended else ""
        status = f"{chain.status}{ended}" + (f": {chain.detail}" if chain.detail else "")
        style = "green" if logged else "yellow" if chain.status == "running" else "red"
        table.add_row(Text(name), str(chain.runs) if logged else NOTHING, f"{chain.points:,}", Text(status, style))
    if not synced.chains:
        table.caption = "none: the tracking store is complete"
        table.caption_justify = "left"
    return table


def _storage(experiment: Experiment | None, storage: str | None) -> str:
    place = storage or (experiment.storage if experiment is not None else Experiment.model_fields["storage"].default)
    assert isinstance(place, str)
    if "://" in place:
        return place
    path = Path(place).absolute()
    if not path.is_dir():
        raise RequestError(f"there is no storage {path}; give the experiment file, or --storage")
    return str(path)
