"""The verb ``refresh``: goes on from the model of the day before, and trains each day once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.orchestrator.errors import RequestError, RunError, first_line
from nmt.orchestrator.experiment import data_source
from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare_chain
from nmt.orchestrator.experiment.sections import Experiment, Protect
from nmt.orchestrator.models.alias import version_of
from nmt.orchestrator.models.finished import finished_chain, finished_model
from nmt.orchestrator.refresh.days import Day, Days
from nmt.orchestrator.terminal.output import Output
from nmt.orchestrator.trials.cost import Cost
from nmt.orchestrator.verbs.run import ChainOutcome, run_experiment
from nmt.trainers.data.growth import grow, plan_growth
from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.faults import DamagedError
from nmt.trainers.live.start import why_not_start
from nmt.trainers.live.store import keep_live, read_live
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import Event
from nmt.trainers.spec.previous import stage_label

if TYPE_CHECKING:
    from nmt.orchestrator.models.mlflow_model import Registered


@dataclass(frozen=True)
class Refreshed:
    """A day.

    Attributes:
        day: The day.
        trained: Whether this call trained it; otherwise it was finished before, and nothing was trained.
        chain: Its chain.
        registered: Its version in the registry, where a name was given.
    """

    day: Day
    trained: bool
    chain: ChainOutcome
    registered: Registered | None = None

    @property
    def sentence(self) -> str:
        """What happened, in one sentence."""
        day = self.day
        if not self.trained:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(day.finished))
            return f"day {day.number} is finished since {when}: these data have been trained on, nothing to do"
        start = f"went on from day {day.previous_day}" if day.previous_day else "is the first"
        new = ", ".join(f"{count:,} {name}" for name, count in day.new_tokens.items() if count)
        tokens = f"; new: {new}" if new else ""
        return f"day {day.number} {start}: {day.samples:,} samples in {day.stages} stages{tokens}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        day = {key: value for key, value in asdict(self.day).items() if key not in ("previous", "live")}
        return {
            "sentence": self.sentence,
            "trained": self.trained,
            "day": day,
            "chain": self.chain.to_dict(),
            "registered": None if self.registered is None else self.registered.to_dict(),
        }


def refresh_experiment(
    experiment: Experiment,
    output: Output,
    *,
    name: str | None = None,
    alias: str | None = None,
    address: str | None = None,
    verbose: bool = False,
    sync_command: str = "nmt sync FILE",
    watch: Callable[[Event], None] = lambda event: None,
) -> Refreshed:
    """Train an experiment on today's data, from the model that its last refresh ended with.

    Vocabularies grow by appending; a new token starts as OOV's embedding; all optima are measured anew; λ of each stage
    starts where it ended. Data that an earlier refresh trained on, with the same settings, are not trained on again.

    Args:
        experiment: The experiment; its data are today's.
        output: Shows progress.
        name: Register the day's model under this name.
        alias: Alias that shall point to the version. The version that has it is protected, where the experiment
            protects no other.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.
        sync_command: The command that later logs what the tracking store lacks.
        watch: Called with every event, in order, from a thread; it must not raise.

    Raises:
        RequestError: The data or the experiment is invalid, or differs from the last refresh in network or columns; or
            the day is trained, and its model may not be registered or have the alias.
        RunError: The run failed; finished stages are kept, and the same command resumes from them.
        KeyboardInterrupt: The user interrupted the run; finished stages are kept.
    """
    if alias is not None and name is None:
        raise RequestError(f"the alias {alias} is one of a registered model; give its name too")
    if alias is not None and experiment.protect is None and version_of(experiment.tracking, name or "", alias):
        experiment = experiment.model_copy(update={"protect": Protect(model=f"models:/{name}@{alias}")})
    done = _train_day(experiment, output, address, verbose, sync_command, watch)
    if name is None:
        return done
    from nmt.orchestrator.models.registration import register_chain  # MLflow takes seconds to import

    return replace(done, registered=register_chain(done.chain.prepared, name, alias))


def _train_day(
    experiment: Experiment,
    output: Output,
    address: str | None,
    verbose: bool,
    sync_command: str,
    watch: Callable[[Event], None],
) -> Refreshed:
    days = Days(experiment.storage, experiment.name)
    if experiment.data.source is not None:
        output.say(f"preparing data from {experiment.data.source}")
    folder, schema = data_source.prepare(experiment.data)
    alone = prepare_chain(experiment.model_copy(update={"protect": None}), folder, schema, lambda line: None)
    key = alone.spec.stage_keys()[-1]
    known = days.read()
    today = next((day for day in known if (day.data, day.key) == (schema.fingerprint, key)), None)
    before = _day_before(known, schema.fingerprint)
    if today is not None:
        earlier = next((day for day in known if day.number == today.previous_day), None)
        prepared, _ = _go_on(alone, earlier, output.say)
        spec = replace(prepared.spec, previous=today.previous, live=today.live)
        prepared = replace(prepared, experiment=experiment, spec=spec)
        if _is_finished(prepared):
            return Refreshed(today, False, _finished_outcome(prepared, today))
        before = earlier  # somebody deleted stages: they are trained again, from where they started
    prepared, new = _go_on(replace(alone, experiment=experiment), before, output.say)
    outcome = run_experiment(prepared, output, address=address, verbose=verbose, sync_command=sync_command, watch=watch)
    day = Day(
        number=today.number if today is not None else 1 + max((day.number for day in known), default=0),
        data=schema.fingerprint,
        key=key,
        stage_key=prepared.spec.stage_keys()[-1],
        previous=prepared.spec.previous,
        previous_day=0 if before is None else before.number,
        live=prepared.spec.live,
        model=_keep(prepared),
        multipliers=_multipliers(outcome.records),
        new_tokens=new,
        rows=dict(prepared.schema.rows),
        stages=len(outcome.records),
        samples=sum(record.samples for record in outcome.records),
        seconds=sum(record.wall_seconds * record.workers for record in outcome.records),
        finished=time.time(),
        run_id=outcome.run_id if outcome.tracking_complete else None,
        address=outcome.model,
    )
    try:
        days.write(day)
    except OSError as error:
        raise RunError(f"day {day.number} is trained and cannot be noted: {error}; run the same command again") from (
            error
        )
    done = Refreshed(day, True, outcome)
    output.note(done.sentence, "day_finished", day=day.number, samples=day.samples, new_tokens=dict(new))
    return done


def _day_before(days: list[Day], data: str) -> Day | None:
    """Return the day to go on from: the last one, but never one of the same data (other settings were tried then)."""
    same = [day for day in days if day.data == data]
    if same:
        return next((day for day in days if day.number == same[0].previous_day), None)
    return days[-1] if days else None


def _go_on(
    alone: PreparedExperiment, before: Day | None, say: Callable[[str], None]
) -> tuple[PreparedExperiment, Mapping[str, int]]:
    """Return an experiment that goes on from a day, on data with grown vocabularies, and its numbers of new tokens."""
    experiment, schema, folder = alone.experiment, alone.schema, alone.folder
    if before is None:
        return prepare_chain(experiment, folder, schema, say), {}
    try:
        model = read_live(experiment.storage, before.model)
        today = read_encoder(folder, schema)
        if reason := why_not_start(model, alone.spec.model, alone.spec.tasks, schema, today):
            raise RequestError(
                f"the chain cannot go on from day {before.number}: {reason}; undo the change, or give the experiment "
                "another name, under which it starts anew"
            )
        growth = plan_growth(model.encoder, today)
        if growth.encoder.to_files() != today.to_files():
            target = _target(experiment, schema.fingerprint, before.model)
            schema, folder = grow(folder, schema, growth, target), str(target)
    except (DamagedError, ValueError, OSError) as error:
        raise RequestError(f"data: {first_line(error)}") from error
    prepared = prepare_chain(experiment, folder, schema, say, before.as_previous)
    return prepared, {name: count for name, count in growth.new.items() if count}


def _target(experiment: Experiment, data: str, model: str) -> Path:
    """Return the folder of data with grown vocabularies."""
    folder = data_source.cache_folder(experiment.data)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"grown-{data[:12]}-{model[:12]}"


def _is_finished(prepared: PreparedExperiment) -> bool:
    try:
        return bool(finished_chain(prepared))
    except RequestError:
        return False


def _finished_outcome(prepared: PreparedExperiment, day: Day) -> ChainOutcome:
    records = finished_chain(prepared)
    return ChainOutcome(
        records=records,
        cost=sum((Cost.of_stage(record, reused=True) for record in records), Cost()),
        run_id=day.run_id,
        link=None,
        tracking_failure=None,
        tracking_complete=day.run_id is not None,
        model=day.address,
        prepared=prepared,
    )


def _keep(prepared: PreparedExperiment) -> str:
    """Keep the model where the next day's workers find it; return its hash."""
    try:
        return keep_live(prepared.experiment.storage, finished_model(prepared))
    except OSError as error:
        raise RunError(f"the model cannot be kept for the next day: {error}; run the same command again") from error


def _multipliers(records: tuple[StageRecord, ...]) -> dict[str, dict[str, float]]:
    return {stage_label(record.level): dict(record.multipliers) for record in records}
