"""The days of an experiment: what each refresh trained on, what it went on from, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.tracking.names import folder_name
from nmt.trainers.spec.live import Live
from nmt.trainers.spec.previous import Previous
from nmt.trainers.store.storage import Storage

VERSION = 1
"""Format of the file; one of another version is refused."""


@dataclass(frozen=True)
class Day:
    """One refresh that trained its chain to the end. "Day" is whatever lies between two refreshes.

    Attributes:
        number: Its number, from 1.
        data: Fingerprint of the data as the source prepared them.
        key: Key that the chain's last stage would have without an earlier day; with ``data`` it says what was asked.
        stage_key: Key of the last stage that was trained.
        previous: What the chain went on from; ``None`` for the first day.
        previous_day: Number of the day that it went on from; 0 for the first day.
        live: The live model that its chain protected, if any.
        model: Hash of the model that the day ended with, under which the storage has it.
        multipliers: Stage → protected task → λ at its end.
        new_tokens: Categorical column → tokens that earlier days had not.
        rows: Split → number of rows.
        stages: Stages of its chain.
        samples: Training examples that their steps saw.
        seconds: Seconds of all workers.
        finished: When it was finished, in seconds since 1970.
        run_id: The chain's run in MLflow, if it is there.
        address: Address of the model in MLflow, if it is there.
    """

    number: int
    data: str
    key: str
    stage_key: str
    previous: Previous | None
    previous_day: int
    live: Live | None
    model: str
    multipliers: Mapping[str, Mapping[str, float]]
    new_tokens: Mapping[str, int]
    rows: Mapping[str, int]
    stages: int
    samples: int
    seconds: float
    finished: float
    run_id: str | None = None
    address: str | None = None

    @property
    def as_previous(self) -> Previous:
        """What the next day goes on from."""
        return Previous(self.model, self.multipliers)

    def to_json(self) -> str:
        """Return the text that :meth:`from_json` reads."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Day:
        """Read a day.

        Raises:
            ValueError: The text is damaged or of another version.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            version = raw.pop("version")
            if version != VERSION:
                raise ValueError(f"it has version {version}, this program reads {VERSION}")
            previous, live = raw.pop("previous"), raw.pop("live")
            return cls(
                **raw,
                previous=None if previous is None else Previous(**previous),
                live=None if live is None else Live(live["digest"], tuple(live["tasks"]), live["start"]),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from error


class Days:
    """The days of an experiment in its storage, ``refresh/EXPERIMENT/DAY.json``.

    Args:
        storage: Folder or URI of the finished stages.
        experiment: Name of the experiment.
    """

    def __init__(self, storage: str, experiment: str) -> None:
        self._storage = Storage(storage)
        self._folder = f"refresh/{folder_name(experiment)}"

    def read(self) -> list[Day]:
        """Return the days, in order.

        Raises:
            RequestError: A file is damaged, or of another version.
        """
        days = []
        for name in self._storage.files(self._folder):
            if name.endswith(".json"):
                try:
                    days.append(Day.from_json(self._storage.read(f"{self._folder}/{name}").decode()))
                except ValueError as error:
                    where = self._storage.full_path(f"{self._folder}/{name}")
                    raise RequestError(f"{where}: {error}; delete the file to train that day again") from error
        return sorted(days, key=lambda day: (day.number, day.finished))

    def write(self, day: Day) -> None:
        """Keep a day; the same day again replaces it.

        Raises:
            OSError: The storage cannot be written to.
        """
        self._storage.write(f"{self._folder}/{day.number:05d}-{day.stage_key}.json", day.to_json().encode())
