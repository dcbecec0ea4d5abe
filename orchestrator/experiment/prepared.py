"""An experiment with its data at hand and everything checked that can be checked before Ray starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.experiment import data_source, preflight
from orchestrator.experiment.file import load
from orchestrator.experiment.ingest import SHARE, bytes_in_memory, choose_ingest
from orchestrator.experiment.sections import Experiment
from trainers.data.schema import Schema
from trainers.spec.chain_spec import ChainSpec


@dataclass(frozen=True)
class PreparedExperiment:
    """What the verbs work on.

    Attributes:
        experiment: The validated file.
        spec: The chain it declares.
        schema: Columns and sizes of its data.
        folder: The prepared data.
    """

    experiment: Experiment
    spec: ChainSpec
    schema: Schema
    folder: str


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
        say: Called with a line for the user before something that may take a while.
        check: Called with the experiment before its data are prepared, which may take a while.

    Raises:
        RequestError: Something in the request is wrong.
    """
    return prepare_experiment(load(path, overrides), say, check)


def prepare_experiment(
    experiment: Experiment, say: Callable[[str], None], check: Callable[[Experiment], None] | None = None
) -> PreparedExperiment:
    """Prepare the data of an experiment, check it.

    Args:
        experiment: The experiment.
        say: Called with a line for the user before something that may take a while.
        check: Called with the experiment before its data are prepared, which may take a while.

    Raises:
        RequestError: Something in the request is wrong.
    """
    if check is not None:
        check(experiment)
    if experiment.data.source is not None:
        say(f"preparing data from {experiment.data.source}")
    folder, schema = data_source.prepare(experiment.data)
    tasks = sum(map(len, experiment.levels))
    ingest = choose_ingest(experiment.data.ingest, schema, tasks)
    if ingest == "stream" and experiment.data.ingest is None:
        size = bytes_in_memory(schema, tasks) / 1e9
        say(f"the data take {size:.1f} GB in memory, {SHARE:.0%} of this machine's is the limit: they are streamed")
    spec = experiment.chain(schema.fingerprint, ingest)
    preflight.check(experiment, spec, schema, folder)
    return PreparedExperiment(experiment, spec, schema, folder)
