"""The live model of an experiment: found, checked against today's data, and kept where workers find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nmt.orchestrator.errors import RequestError, first_line
from nmt.orchestrator.experiment.model_address import read_model
from nmt.orchestrator.experiment.sections import Experiment, Protect
from nmt.trainers.data.prepared import read_encoder
from nmt.trainers.data.schema import Schema
from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.faults import DamagedError
from nmt.trainers.live.build import build_models
from nmt.trainers.live.columns import match_columns
from nmt.trainers.live.start import why_not_start
from nmt.trainers.live.store import has_live, keep_live, read_live
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.live import Live
from nmt.trainers.spec.task import Task


def add_live(
    experiment: Experiment, spec: ChainSpec, schema: Schema, folder: str, say: Callable[[str], None]
) -> ChainSpec:
    """Return the chain with the live model that the experiment protects.

    Where the live model is what this very chain trained, the chain keeps the live model of that time: it is finished,
    and has nothing to prove against itself.

    Args:
        experiment: The experiment.
        spec: Its chain.
        schema: Columns of its data.
        folder: The prepared data.
        say: Called with a line for the user.

    Raises:
        RequestError: There is no such model, or it cannot be compared on these data.
    """
    protect = experiment.protect
    if protect is None:
        return spec
    try:
        model = read_model(protect.model, experiment.tracking)
        encoder = read_encoder(folder, schema)
        earlier = str(model.origin.get("live", ""))
        if earlier and has_live(experiment.storage, earlier):
            then = _with(spec, protect, read_live(experiment.storage, earlier), earlier, schema, encoder)[0]
            if then.stage_keys()[-1] == model.origin.get("stage_key"):
                say(f"{protect.model} is the model of this very chain")
                return then
        digest = keep_live(experiment.storage, model)
        found, reason = _with(spec, protect, model, digest, schema, encoder)
        found.check()
        build_models(found, schema, folder, experiment.storage)  # says before Ray starts what cannot be built
    except (RequestError, ValueError, DamagedError, RuntimeError, OSError) as error:
        raise RequestError(f"protect: {first_line(error)}") from error
    names = ", ".join(task.name for task in found.live_tasks)
    start = f"training does not start from it: {reason}" if reason else "training starts from it"
    say(f"the live model {protect.model} protects {names}; {start}")
    return found


def _with(
    spec: ChainSpec, protect: Protect, model: TrainedModel, digest: str, schema: Schema, encoder: Encoder
) -> tuple[ChainSpec, str]:
    """Return the chain that protects a model, and why it does not start from it; empty where it does."""
    live = {task.name: task for task in model.tasks}
    tasks = [task for task in spec.tasks if task.name in live]
    if not tasks:
        raise ValueError(
            f"the live model has the tasks {', '.join(live)}, the file {', '.join(task.name for task in spec.tasks)}: "
            "none in common; give tasks the live model's names, or leave protect out"
        )
    for task in tasks:
        other = live[task.name]
        if (task.loss, dict(task.options)) != (other.loss, dict(other.options)):
            raise ValueError(
                f"task {task.name} has the loss {_loss(task)} in the file and {_loss(other)} in the live model: they "
                "cannot be compared; give them the same loss"
            )
    match_columns(model, schema, encoder)
    reason = why_not_start(model, spec.model, spec.tasks, schema, encoder)
    if protect.start and reason:
        raise ValueError(f"start: true needs a live model of the same network, tasks and columns: {reason}")
    if protect.start is False:
        reason = "protect.start is false"
    elif spec.previous is not None:
        reason = "it goes on from the model of the day before"
    return replace(spec, live=Live(digest, tuple(task.name for task in tasks), not reason)), reason


def _loss(task: Task) -> str:
    return f"{task.loss} {dict(task.options)}" if task.options else task.loss
