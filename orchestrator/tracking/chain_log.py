"""A chain in MLflow: one run, and one nested run per stage."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal, NamedTuple

from nmt.orchestrator.figures.losses import losses_against_optima
from nmt.orchestrator.figures.multipliers import multiplier_trajectory
from nmt.orchestrator.summary.chain import chain_summary
from nmt.orchestrator.tracking.data_input import data_input
from nmt.orchestrator.tracking.manifests.chain_manifest import ChainManifest
from nmt.orchestrator.tracking.stage_table import stage_table
from nmt.orchestrator.tracking.store import OpenRun, Point, TrackingStore, milliseconds
from nmt.orchestrator.trials.cost import Cost
from nmt.trainers.certificate import Certificate
from nmt.trainers.records import Candidate, Row, StageRecord
from nmt.trainers.reporter import Evaluated, Event, Progress, StageFinished, StageStarted
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.stage.followed import followed, followed_from_the_start, row_of

_REUSED_FROM = "nmt.reused_from"


class Timed(NamedTuple):
    """An event and its time of arrival, in milliseconds since 1970.

    Points are logged with this time, so that most of MLflow's stores take a point that is sent twice as one.
    """

    event: Event
    at: int


Value = tuple[str, float, int]
"""Metric name, value, step."""


@dataclass
class _OpenStage:
    """The run of a stage, and how far this process has written its curves."""

    run: OpenRun
    step: int = 0
    rows: int = 0
    candidates: set[tuple[int, float]] = field(default_factory=set)

    @property
    def reused(self) -> bool:
        return _REUSED_FROM in self.run.tags

    def is_complete(self, record: StageRecord) -> bool:
        """Return whether this process has written the curves in full; never true for a run found in the store."""
        evaluated = {(candidate.step, candidate.share) for candidate in record.candidates}
        return not self.run.found and self.rows == len(record.rows) and self.candidates == evaluated


class ChainRun:
    """Writes one chain: live from the events of its stages, or afterwards from their records.

    Every method may be called again after a failure. What it has written, or another process with the same
    ``run_uuid``, is not written again.

    Args:
        store: The tracking store.
        spec: What the chain computes.
        params: The flattened experiment.
        name: Name of the run.
        parent: Run to nest below, or ``None``.
        run_uuid: UUID by which an existing run is found; a new one when absent.
        trained: Keys of the stages that this run has trained, even if the storage has them by now.
        at: Start of the chain, in milliseconds since 1970.
        kind: ``weights`` for a trial of a grid, whose single stage is written into the run itself.
        shown: Overrides of the comparable params and of the method tag.
        stages: Number of stages to run; all of them when absent.
    """

    def __init__(
        self,
        store: TrackingStore,
        spec: ChainSpec,
        params: Mapping[str, str],
        name: str,
        parent: str | None = None,
        *,
        run_uuid: str | None = None,
        trained: Collection[str] = (),
        at: int | None = None,
        kind: Literal["chain", "weights"] = "chain",
        shown: Mapping[str, str] | None = None,
        stages: int | None = None,
    ) -> None:
        self._store = store
        self._spec = spec
        self._training = spec.training
        self._keys = spec.stage_keys()[:stages]
        self._flat = kind == "weights"
        self._parent = parent
        # MLflow's comparison drops a run that lacks one of these keys.
        self._params = {
            "method": self._training.method,
            "eta_theta": str(self._training.eta_theta),
            "eta_lambda": str(self._training.eta_lambda),
            "weights": ":".join(f"{w:g}" for w in self._training.weights) if self._training.weights else "none",
            **(shown or {}),
        }
        self._method = self._params["method"]
        self._trained = frozenset(trained)
        self._stages: dict[int, _OpenStage] = {}
        self._finished: dict[int, tuple[StageRecord, Cost]] = {}
        self._metric_names = {task.name: task.metric for task in spec.tasks}
        self._run_uuid = run_uuid or uuid.uuid4().hex
        self._ended = False
        tags = {"nmt.kind": kind, "nmt.method": self._method, "nmt.data": spec.data_fingerprint}
        if spec.live is not None:
            tags["nmt.live"] = spec.live.digest
        self._run = store.open_run(self._run_uuid, name, tags, {**params, **self._params}, parent, at)
        self.run_id = self._run.run_id
        if not self._run.finished and not self._flat:
            store.data(self.run_id, data_input(params, spec.data_fingerprint))

    @classmethod
    def from_manifest(cls, store: TrackingStore, manifest: ChainManifest, parent: str | None = None) -> ChainRun:
        """Open the run of a manifest, nested below ``parent`` when given."""
        return cls(
            store,
            manifest.spec,
            manifest.params,
            manifest.name,
            parent,
            run_uuid=manifest.run_uuid,
            trained=manifest.trained,
            at=milliseconds(manifest.started),
            kind=manifest.kind,
            shown=manifest.shown,
            stages=manifest.stages,
        )

    @property
    def finished(self) -> bool:
        """Whether the store already had the whole chain when the run was opened."""
        return self._run.finished

    @property
    def runs(self) -> int:
        """Number of runs of this chain, its own and its stages'."""
        return 1 + (0 if self._flat else len(self._keys) if self.finished else len(self._stages))

    def has_stage(self, stage: int) -> bool:
        """Return whether a finished stage has been written."""
        return stage in self._finished

    def write(self, events: Iterable[Timed]) -> None:
        """Write events; consecutive points of a stage's curves are logged together."""
        for stage, group in groupby(events, key=_stage_of_curve):
            if stage is not None:
                self._write_curves(stage, list(group))
                continue
            for event, at in group:
                match event:
                    # A stage that restarts after the loss of a worker continues in its run.
                    case StageStarted() if event.stage not in self._stages:
                        self._open_stage(event.stage, event.key, event.level, None, at)
                    case StageFinished() if event.record.stage not in self._finished:
                        self._finish_stage(event.record, event.reused, at)

    def finish(self, wall_seconds: float = 0.0, at: int | None = None) -> None:
        """Write the end of a finished chain: test metrics, optima, cost, figures."""
        if self.finished or self._ended:
            return
        records = [self._finished[stage][0] for stage in sorted(self._finished)]
        last = records[-1]
        values: list[Value] = [(name, value, last.steps) for name, value in self._cost(wall_seconds).metrics().items()]
        values += [(f"test/loss/{task}", value, last.steps) for task, value in last.losses["test"].items()]
        values += self._metrics("test", last.metrics["test"], last.steps)
        for record in records:
            values += self._optima(record, last.steps)
        values += [(f"lambda/{task}", value, last.steps) for task, value in last.multipliers.items()]
        values += self._deviations(last)
        values += self._against_live(last)
        at = milliseconds() if at is None else at
        self._store.log(self.run_id, _points(values, at))
        if self._flat:  # its group judges the guarantee
            self._store.log(self.run_id, _points([("accepted_step", float(last.accepted_step), last.steps)], at))
            self._end("FINISHED", at)
            return
        self._store.tag(self.run_id, {"nmt.guarantee": "held" if all(r.held for r in records) else "broken"})
        self._store.document(self.run_id, chain_summary(records), "summary.json")
        if self._parent is None:  # a group logs the figures of its winner only
            log_figures(self._store, self.run_id, records)
        self._end("FINISHED", at)

    def abort(self, status: str, at: int | None = None, wall_seconds: float | None = None) -> None:
        """End this run and its open stages as ``FAILED`` or ``KILLED``.

        Args:
            status: The status.
            at: End of the chain, in milliseconds since 1970.
            wall_seconds: Duration of a chain that will not resume, whose cost is then written; ``None`` if it may.
        """
        if self.finished or self._ended:
            return
        if wall_seconds is not None:
            step = max((record.steps for record, _ in self._finished.values()), default=0)
            cost = self._cost(wall_seconds).metrics()
            points = _points(
                [(name, value, step) for name, value in cost.items()], milliseconds() if at is None else at
            )
            self._store.log(self.run_id, points)
        for stage in range(len(self._keys)):
            if stage in self._finished or self._flat:
                continue
            if stage in self._stages:
                self._store.end_run(self._stages[stage].run.run_id, status, at)
            elif self._run.found and (existing := self._store.find_run(self._stage_uuid(stage))) is not None:
                self._store.end_run(existing.run_id, status, at)
        self._end(status, at)

    def _end(self, status: str, at: int | None) -> None:
        self._store.end_run(self.run_id, status, at)
        self._ended = True  # if a later item fails, this one is written again

    def _cost(self, wall_seconds: float) -> Cost:
        """Return the total cost of the finished stages."""
        stages = (replace(spent, wall_seconds=0.0) for _, spent in self._finished.values())
        return sum(stages, Cost(trials=1, wall_seconds=wall_seconds))

    def _stage_uuid(self, stage: int) -> str:
        return f"{self._run_uuid}.{stage + 1}"

    def _open_stage(self, stage: int, key: str, level: Sequence[str], reused_from: str | None, at: int) -> _OpenStage:
        tags = {
            "nmt.kind": "stage",
            "nmt.method": self._method,
            "nmt.stage": str(self._spec.stages[stage].number),
            "nmt.task": ", ".join(level) or "joint",
            "nmt.stage_key": key,
        }
        if reused_from is not None:
            tags[_REUSED_FROM] = reused_from
        if self._flat:
            own = {name: value for name, value in tags.items() if name in ("nmt.stage_key", _REUSED_FROM)}
            self._store.tag(self.run_id, own)
            self._stages[stage] = _OpenStage(self._run._replace(tags={**self._run.tags, **own}))
            return self._stages[stage]
        name = f"stage {self._spec.stages[stage].number}: {', '.join(level) or 'joint'}"
        run = self._store.open_run(self._stage_uuid(stage), name, tags, self._params, self.run_id, at)
        self._stages[stage] = _OpenStage(run)
        return self._stages[stage]

    def _write_curves(self, stage: int, events: Sequence[Timed]) -> None:
        found = self._stages.get(stage)
        if found is None:  # its StageStarted event was lost
            level = [task.name for task in self._spec.stages[stage].level]
            found = self._open_stage(stage, self._keys[stage], level, None, events[0].at)
        tasks = self._followed_from_the_start(stage)
        points: list[Point] = []
        step, rows, candidates = found.step, found.rows, set(found.candidates)
        for event, at in events:
            match event:
                case Progress():
                    # After the loss of a worker all rows of the stage are sent again.
                    fresh = [row for row in event.rows if row.step > step]
                    points += _points(self._rows(fresh, tasks), at)
                    rows += len(fresh)
                    step = max([step, *(row.step for row in fresh)])
                case Evaluated():
                    place = (event.candidate.step, event.candidate.share)
                    if place not in candidates:
                        points += _points(self._candidate(event.candidate, tasks), at)
                        candidates.add(place)
        if found.run.finished:
            return
        self._store.log(found.run.run_id, points)
        found.step, found.rows, found.candidates = step, rows, candidates

    def _finish_stage(self, record: StageRecord, reused: bool, at: int) -> None:
        found = self._stages.get(record.stage)
        if found is None:
            own = not reused or record.key in self._trained or record.trained_by == self._run_uuid
            origin = None if own else self._store.run_of_stage(record.key) or record.key
            start = at - round(1000 * record.wall_seconds) if own else at
            found = self._open_stage(record.stage, record.key, record.level, origin, start)
        cost = Cost.of_stage(record, found.reused)
        if not found.run.finished:
            run_id = found.run.run_id
            tasks = set(followed(record))
            if not found.is_complete(record):
                if found.rows or found.candidates:
                    self._store.mark_uncertain(run_id)
                self._store.log(run_id, self._curves(record, tasks, found.reused, at))
            elif late := tasks.difference(self._followed_from_the_start(record.stage)):
                self._store.log(run_id, self._curves(record, late, found.reused, at))
            if self._flat:
                self._store.tag(run_id, {"nmt.ended_by": record.ended_by})
                self._finished[record.stage] = record, cost
                return
            values: list[Value] = [(name, value, record.steps) for name, value in cost.metrics().items()]
            values += self._optima(record, record.steps)
            prices = record.certificate.shadow_prices if record.certificate else record.multipliers
            values += [(f"shadow_price/{task}", value, record.steps) for task, value in prices.items() if task in tasks]
            for task, value in record.losses["test"].items():
                if task in tasks:
                    values.append((f"test/loss/{task}", value, record.steps))
            values += self._metrics("test", record.metrics["test"], record.steps, tasks)
            values += self._deviations(record, tasks)
            values += self._certificate(record.certificate, record.steps, tasks)
            values.append(("accepted_step", float(record.accepted_step), record.steps))
            values += [(f"seconds/{name}", value, record.steps) for name, value in record.seconds.items()]
            self._store.log(run_id, _points(values, at))
            if len(tasks) < len(self._spec.tasks):
                self._store.table(run_id, stage_table(record), "tasks.json")
            guarantee = "held" if record.held else "broken"
            self._store.tag(run_id, {"nmt.ended_by": record.ended_by, "nmt.guarantee": guarantee})
            self._store.end_run(run_id, "FINISHED", at)
        self._finished[record.stage] = record, cost

    def _followed_from_the_start(self, stage: int) -> Collection[str]:
        level, protected = self._spec.stages[stage].level, self._spec.stages[stage].protected
        return set(
            followed_from_the_start(*([task.name for task in some] for some in (self._spec.tasks, level, protected)))
        )

    def _curves(self, record: StageRecord, tasks: Collection[str], reused: bool, at: int) -> Iterator[Point]:
        """Return the whole history, so that the page is the same for a stage trained, reused or not seen live."""
        seconds = 0.0 if reused else record.wall_seconds

        def time_of(step: int) -> int:
            return at - round(1000 * seconds * (1 - step / max(record.steps, step, 1)))

        for row in record.rows:
            yield from _points(self._rows([row], tasks), time_of(row.step))
        for candidate in record.candidates:
            yield from _points(self._candidate(candidate, tasks), time_of(candidate.step))

    def _optima(self, record: StageRecord, step: int) -> Iterator[Value]:
        tolerance = {task.name: task.tolerance for task in self._spec.tasks}
        for optimum in record.optima:
            yield f"optimum/{optimum.task}", optimum.train, step
            yield f"optimum_valid/{optimum.task}", optimum.valid, step
            yield f"tolerance/{optimum.task}", tolerance[optimum.task], step

    def _deviations(self, record: StageRecord, tasks: Collection[str] | None = None) -> Iterator[Value]:
        """Return ``deviation/SPLIT/loss/TASK`` and ``deviation/SPLIT/METRIC/TASK``, with their standard errors."""
        for verdict in record.verdicts:
            if tasks is not None and verdict.task not in tasks:
                continue
            for found in (verdict.loss, verdict.metric):
                if found is not None:
                    place = f"{verdict.split}/{found.quantity}/{verdict.task}"
                    yield f"deviation/{place}", found.difference, record.steps
                    yield f"deviation_se/{place}", found.standard_error, record.steps

    def _against_live(self, record: StageRecord) -> Iterator[Value]:
        """Return ``live/SPLIT/loss/TASK`` and ``live/SPLIT/METRIC/TASK``: the model minus the live one, with errors."""
        for verdict in record.against_live:
            for found in (verdict.loss, verdict.metric):
                if found is not None:
                    place = f"{verdict.split}/{found.quantity}/{verdict.task}"
                    yield f"live/{place}", found.difference, record.steps
                    yield f"live_se/{place}", found.standard_error, record.steps

    def _certificate(self, certificate: Certificate | None, step: int, tasks: Collection[str]) -> Iterator[Value]:
        if certificate is None:
            return
        yield "kkt/stationarity", certificate.stationarity, step
        yield "kkt/gradient_norm", certificate.gradient_norm, step
        for name, values in (("feasibility", certificate.feasibility), ("slackness", certificate.slackness)):
            for task, value in values.items():
                if task in tasks:
                    yield f"kkt/{name}/{task}", value, step

    def _rows(self, rows: Sequence[Row], tasks: Collection[str]) -> Iterator[Value]:
        for row in (row_of(whole, tasks) for whole in rows):
            for task, value in row.losses.items():
                yield f"train/loss/{task}", value, row.step
            for task, value in row.violations.items():
                yield f"violation/{task}", value, row.step
            for task, value in row.multipliers.items():
                yield f"lambda/{task}", value, row.step

    def _candidate(self, candidate: Candidate, tasks: Collection[str]) -> Iterator[Value]:
        if candidate.share < 1:
            return  # a retreat: the curve shows the trained model, one point per step
        for task, value in candidate.losses.items():
            if task in tasks:
                yield f"valid/loss/{task}", value, candidate.step
        yield from self._metrics("valid", candidate.metrics, candidate.step, tasks)

    def _metrics(
        self, split: str, metrics: Mapping[str, float], step: int, tasks: Collection[str] | None = None
    ) -> Iterator[Value]:
        for task, value in metrics.items():
            if tasks is None or task in tasks:
                yield f"{split}/{self._metric_names[task].rpartition(':')[2]}/{task}", value, step


def log_figures(store: TrackingStore, run_id: str, records: Sequence[StageRecord]) -> None:
    """Log a chain's figures as artifacts of a run."""
    if records[-1].protected:
        store.figure(run_id, multiplier_trajectory(records), "figures/multipliers.png")
    store.figure(run_id, losses_against_optima(records), "figures/losses_against_optima.png")


def _points(values: Iterable[Value], at: int) -> Iterator[Point]:
    for name, value, step in values:
        yield Point(name, value, step, at)


def _stage_of_curve(timed: Timed) -> int | None:
    return timed.event.stage if isinstance(timed.event, Progress | Evaluated) else None
