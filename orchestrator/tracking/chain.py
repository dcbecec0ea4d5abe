"""A chain in MLflow: one run, and one nested run per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.cost import Cost
from orchestrator.figures.losses import losses_against_optima
from orchestrator.figures.multipliers import multiplier_trajectory
from orchestrator.summary import chain_summary
from orchestrator.tracking.store import Point, TrackingStore
from trainers.certificate import Certificate
from trainers.chain_spec import ChainSpec
from trainers.records import Candidate, Row, StageRecord
from trainers.reporter import Evaluated, Event, Progress, StageFinished, StageStarted


class ChainRun:
    """Writes one chain: live while its stages are trained, whole when they are found finished.

    Args:
        store: Where to write.
        spec: What the chain computes.
        params: The flattened experiment.
        name: Name of the run.
        parent: Run to nest below, or ``None``.
    """

    def __init__(
        self, store: TrackingStore, spec: ChainSpec, params: Mapping[str, str], name: str, parent: str | None = None
    ) -> None:
        self._store = store
        self._spec = spec
        self._started = time.monotonic()
        self._training = spec.training
        # Runs are compared by these keys; a kind of run that lacked one would be dropped from MLflow's comparison.
        self._params = {
            "method": self._training.method,
            "eta_theta": str(self._training.eta_theta),
            "eta_lambda": str(self._training.eta_lambda),
            "weights": ":".join(f"{w:g}" for w in self._training.weights) if self._training.weights else "none",
        }
        self._stages: dict[int, str] = {}
        self._cost = Cost(trials=1)
        self._records: list[StageRecord] = []
        self._metric_names = {task.name: task.metric for task in spec.tasks}
        tags = {"nmt.kind": "chain", "nmt.method": self._training.method, "nmt.data": spec.data_fingerprint}
        self.run_id = store.start_run(name, tags, {**params, **self._params}, parent)

    def write(self, event: Event) -> None:
        """Write what an event says."""
        match event:
            case StageStarted():
                if event.stage in self._stages:  # a worker was lost: what the stage had logged is started over
                    self._store.end_run(self._stages[event.stage], "KILLED")
                self._stages[event.stage] = self._start_stage(event.stage, event.key, event.level, None)
            case Progress():
                self._store.log(self._stages[event.stage], self._rows(event.rows))
            case Evaluated():
                self._store.log(self._stages[event.stage], self._candidate(event.candidate))
            case StageFinished():
                self._finish_stage(event.record, event.reused)

    def finish(self) -> None:
        """Write the end of a finished chain: test metrics, optima, cost, pictures."""
        last = self._records[-1]
        cost = self._cost + Cost(wall_seconds=time.monotonic() - self._started)
        points: list[Point] = [(name, value, last.steps) for name, value in cost.metrics().items()]
        points += [(f"test/loss/{task}", value, last.steps) for task, value in last.losses["test"].items()]
        points += self._metrics("test", last.metrics["test"], last.steps)
        for record in self._records:
            points += self._optima(record, last.steps)
        points += [(f"lambda/{task}", value, last.steps) for task, value in last.multipliers.items()]
        self._store.log(self.run_id, points)
        self._store.tag(self.run_id, {"nmt.guarantee": "held" if all(r.held for r in self._records) else "broken"})
        self._store.document(self.run_id, chain_summary(self._records), "summary.json")
        if len(self._records) > 1:
            self._store.figure(self.run_id, multiplier_trajectory(self._records), "figures/multipliers.png")
        self._store.figure(self.run_id, losses_against_optima(self._records), "figures/losses_against_optima.png")
        self._store.end_run(self.run_id, "FINISHED")

    def abort(self, status: str) -> None:
        """End this run and its open stages as ``FAILED`` or ``KILLED``."""
        finished = {record.stage for record in self._records}
        for stage, run_id in self._stages.items():
            if stage not in finished:
                self._store.end_run(run_id, status)
        self._store.end_run(self.run_id, status)

    def _start_stage(self, stage: int, key: str, level: Sequence[str], reused_from: str | None) -> str:
        tags = {
            "nmt.kind": "stage",
            "nmt.method": self._training.method,
            "nmt.stage": str(stage + 1),
            "nmt.task": ", ".join(level),
            "nmt.stage_key": key,
        }
        if reused_from is not None:
            tags["nmt.reused_from"] = reused_from
        return self._store.start_run(f"stage {stage + 1}: {', '.join(level)}", tags, self._params, self.run_id)

    def _finish_stage(self, record: StageRecord, reused: bool) -> None:
        if reused:
            # The whole history is written again, so that a page tells the same whether its stage was trained or found.
            origin = self._store.run_of_stage(record.key) or record.key
            run_id = self._start_stage(record.stage, record.key, record.level, origin)
            self._store.log(run_id, [*self._rows(record.rows), *self._candidates(record.candidates)])
            self._stages[record.stage] = run_id
        run_id = self._stages[record.stage]
        cost = Cost.of_stage(record, reused)
        self._cost = self._cost + Cost(**{**cost.__dict__, "wall_seconds": 0.0})
        points: list[Point] = [(name, value, record.steps) for name, value in cost.metrics().items()]
        points += self._optima(record, record.steps)
        points += [(f"shadow_price/{task}", value, record.steps) for task, value in record.multipliers.items()]
        points += [(f"test/loss/{task}", value, record.steps) for task, value in record.losses["test"].items()]
        points += self._metrics("test", record.metrics["test"], record.steps)
        points += self._certificate(record.certificate, record.steps)
        points.append(("accepted_step", float(record.accepted_step), record.steps))
        self._store.log(run_id, points)
        self._store.tag(run_id, {"nmt.ended_by": record.ended_by, "nmt.guarantee": "held" if record.held else "broken"})
        self._store.end_run(run_id, "FINISHED")
        self._records.append(record)

    def _optima(self, record: StageRecord, step: int) -> Iterator[Point]:
        tolerance = {task.name: task.tolerance for task in self._spec.tasks}
        for optimum in record.optima:
            yield f"optimum/{optimum.task}", optimum.train, step
            yield f"optimum_valid/{optimum.task}", optimum.valid, step
            yield f"tolerance/{optimum.task}", tolerance[optimum.task], step

    def _certificate(self, certificate: Certificate | None, step: int) -> Iterator[Point]:
        if certificate is None:
            return
        yield "kkt/stationarity", certificate.stationarity, step
        yield "kkt/gradient_norm", certificate.gradient_norm, step
        for task, value in certificate.feasibility.items():
            yield f"kkt/feasibility/{task}", value, step
        for task, value in certificate.slackness.items():
            yield f"kkt/slackness/{task}", value, step

    def _rows(self, rows: Sequence[Row]) -> Iterator[Point]:
        for row in rows:
            for task, value in row.losses.items():
                yield f"train/loss/{task}", value, row.step
            for task, value in row.violations.items():
                yield f"violation/{task}", value, row.step
            for task, value in row.multipliers.items():
                yield f"lambda/{task}", value, row.step

    def _candidate(self, candidate: Candidate) -> Iterator[Point]:
        if candidate.share < 1:
            return  # a retreat: the curve is that of the trained model, one point a step
        for task, value in candidate.losses.items():
            yield f"valid/loss/{task}", value, candidate.step
        yield from self._metrics("valid", candidate.metrics, candidate.step)

    def _candidates(self, candidates: Sequence[Candidate]) -> Iterator[Point]:
        for candidate in candidates:
            yield from self._candidate(candidate)

    def _metrics(self, split: str, metrics: Mapping[str, float], step: int) -> Iterator[Point]:
        for task, value in metrics.items():
            yield f"{split}/{self._metric_names[task].rpartition(':')[2]}/{task}", value, step
