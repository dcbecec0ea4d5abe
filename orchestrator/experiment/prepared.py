"""An experiment with its data prepared, and with every check passed that needs no Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment import data_source, preflight
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.experiment.fresh import FreshStart
from nmt.orchestrator.experiment.ingest import MEMORY_SHARE, bytes_in_memory, choose_ingest
from nmt.orchestrator.experiment.live import add_live
from nmt.orchestrator.experiment.sections import Experiment
from nmt.trainers.data.schema import Schema
from nmt.trainers.spec.chain_spec import ChainSpec
from nmt.trainers.spec.previous import Previous


@dataclass(frozen=True)
class PreparedExperiment:
    """Input of the verbs.

    Attributes:
        experiment: The validated file.
        spec: The chain that it declares.
        schema: Columns and sizes of its data.
        folder: The prepared data.
        fresh: Trains again what the storage has; ``None`` where finished stages are reused.
    """

    experiment: Experiment
    spec: ChainSpec
    schema: Schema
    folder: str
    fresh: FreshStart | None = None

    def started_afresh(self) -> PreparedExperiment:
        """Return the same experiment, whose finished stages are trained again."""
        return replace(self, fresh=FreshStart(self.experiment.storage))


def prepare(
    path: str,
    overrides: Sequence[str],
    say: Callable[[str], None],
    check: Callable[[Experiment], None] | None = None,
) -> PreparedExperiment:
    """Load an experiment file, prepare its data, check it.

    Args:
        path: The experiment file.
        overrides: ``key=value`` assignments.
        say: Called with a line for the user before each step that may take a while.
        check: An early check, called before the data is prepared.

    Raises:
        RequestError: The file, the data or the request is invalid.
    """
    return prepare_experiment(load(path, overrides), say, check)


def prepare_experiment(
    experiment: Experiment, say: Callable[[str], None], check: Callable[[Experiment], None] | None = None
) -> PreparedExperiment:
    """Prepare the data of an experiment, and check it.

    Args:
        experiment: The experiment.
        say: Called with a line for the user before each step that may take a while.
        check: An early check, called before the data is prepared.

    Raises:
        RequestError: The experiment or its data is invalid.
    """
    if check is not None:
        check(experiment)
    if experiment.data.source is not None:
        say(f"preparing data from {experiment.data.source}")
    folder, schema = data_source.prepare(experiment.data)
    return prepare_chain(experiment, folder, schema, say)


def prepare_chain(
    experiment: Experiment, folder: str, schema: Schema, say: Callable[[str], None], previous: Previous | None = None
) -> PreparedExperiment:
    """Return an experiment on prepared data, checked.

    Args:
        experiment: The experiment.
        folder: The prepared data.
        schema: Their columns and sizes.
        say: Called with a line for the user.
        previous: The model that the chain goes on from, if any.

    Raises:
        RequestError: The experiment cannot be trained on these data, or not from that model.
    """
    tasks = sum(map(len, experiment.levels))
    ingest = choose_ingest(experiment.data.ingest, schema, tasks)
    if ingest == "stream" and experiment.data.ingest is None:
        size = bytes_in_memory(schema, tasks) / 1e9
        share = f"{MEMORY_SHARE:.0%} of this machine's memory"
        say(f"the data takes {size:.1f} GB in memory, more than {share}: it is streamed")
    try:
        spec = replace(experiment.chain(schema.fingerprint, ingest), previous=previous)
    except ValueError as error:
        raise RequestError(f"model: {error}") from error
    preflight.check(experiment, spec, schema, folder)
    spec = add_live(experiment, spec, schema, folder, say)
    return PreparedExperiment(experiment, spec, schema, folder)
