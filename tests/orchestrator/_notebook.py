"""A tracking store that keeps what would go to MLflow."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from nmt.orchestrator.tracking.data_input import DataInput
from nmt.orchestrator.tracking.store import OpenRun, Point, TrackingStore


class Notebook(TrackingStore):
    """Keeps what would go to MLflow."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.tags: list[dict[str, str]] = []
        self.points: list[list[Point]] = []
        self.ended: dict[str, str] = {}
        self.kept: dict[str, Any] = {}
        self.inputs: list[DataInput] = []

    def open_run(
        self,
        run_uuid: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        parent: str | None = None,
        at: int | None = None,
    ) -> OpenRun:
        self.names.append(name)
        self.tags.append(dict(tags))
        self.points.append([])
        return OpenRun(str(len(self.names) - 1), finished=False, found=False, tags=tags)

    def data(self, run_id: str, data: DataInput) -> None:
        self.inputs.append(data)

    def doubt(self, run_id: str) -> None:
        raise AssertionError(f"an event of run {run_id} got lost")

    def log(self, run_id: str, points: Iterable[Point]) -> None:
        self.points[int(run_id)] += points

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        self.tags[int(run_id)] |= tags

    def figure(self, run_id: str, figure: Figure, path: str) -> None:
        figure.savefig(io.BytesIO(), dpi=30)
        self.kept[path] = figure

    def document(self, run_id: str, content: Mapping[str, object], path: str) -> None:
        self.kept[path] = json.loads(json.dumps(content, allow_nan=False))

    def end_run(self, run_id: str, status: str, at: int | None = None) -> None:
        self.ended[run_id] = status

    def run_of_stage(self, key: str) -> str | None:
        return None

    def last(self, run: int) -> dict[str, tuple[float, int]]:
        """Metric → last value and its step."""
        return {point.name: (point.value, point.step) for point in self.points[run]}

    def table(self, run_id: str, columns: Mapping[str, Sequence[object]], path: str) -> None:
        self.kept[f"{run_id}/{path}"] = json.loads(json.dumps(columns, allow_nan=False))
