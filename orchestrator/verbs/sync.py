"""The verb ``sync``: what tracking stores did not take while runs went on, logged from the storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.credentials import without_credentials
from orchestrator.errors import RequestError
from orchestrator.experiment.file import load
from orchestrator.experiment.sections import Experiment
from orchestrator.summary.wording import NOTHING
from orchestrator.tracking.backlog import Backlog, LoggedChain


@dataclass(frozen=True)
class SyncOutcome:
    """What came of it.

    Attributes:
        storage: The storage.
        chains: The chains that were not logged to their end before, oldest first.
    """

    storage: str
    chains: tuple[LoggedChain, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is missing of any chain that runs no more."""
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
    """Log what is missing of every chain in a storage that runs no more; a second time there is nothing to log.

    Of a tracking store that is none of a chain's own, everything is missing: so a lost one is written anew.

    Args:
        file: Experiment file; its storage is taken, and its tracking URI where that has the credentials of a chain's.
        overrides: ``key=value`` assignments to the file.
        storage: Storage, instead of the file's.
        tracking: Tracking URI, instead of the chains' own.

    Raises:
        RequestError: There is no such file or storage.
    """
    experiment = load(file, overrides) if file is not None else None
    if experiment is None and overrides:
        raise RequestError("--set overrides keys of an experiment file, and none is given; name it: nmt sync FILE")
    if tracking is not None and "://" not in tracking:
        raise RequestError(f"--tracking {tracking!r} is no URI; give one such as sqlite:///mlflow.db")
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
    """What came of it, for a terminal."""
    table = Table(title=f"chains in {synced.storage} that were not logged to their end", title_justify="left")
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
        table.caption = "none: the tracking store has it all"
        table.caption_justify = "left"
    return table


def _storage(experiment: Experiment | None, storage: str | None) -> str:
    place = storage or (experiment.storage if experiment is not None else Experiment.model_fields["storage"].default)
    assert isinstance(place, str)
    if "://" in place:
        return place
    path = Path(place).absolute()
    if not path.is_dir():
        raise RequestError(f"there is no storage {path}; name the experiment file, or give --storage")
    return str(path)
