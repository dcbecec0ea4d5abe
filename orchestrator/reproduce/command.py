"""The command ``nmt reproduce``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.cluster.tuning.placement import check_trial
from orchestrator.cluster.tuning.runner import TrialRunner
from orchestrator.errors import RequestError
from orchestrator.experiment.prepared import prepare_experiment
from orchestrator.experiment.sections import Experiment
from orchestrator.reproduce.run import Reproduced, run_study, study_trials
from orchestrator.reproduce.study import Arm, Study, content_of, experiment_of, load_study
from orchestrator.terminal.output import Output

SMALL = "small"
"""Preset that is taken where the data only stand in for the paper's."""


def reproduce(
    name: str,
    source: str | None,
    place: str | None,
    seeds: int,
    preset: str | None,
    overrides: Sequence[str],
    output: Output,
    address: str | None = None,
    verbose: bool = False,
) -> Reproduced:
    """Run a study of the paper.

    Args:
        name: ``table1`` …
        source: Data set; the paper's where a place is given, otherwise the one that needs no file.
        place: Where the data are.
        seeds: Seeds.
        preset: Smaller sizes by name; ``small`` for stand-ins and none for the paper's data when absent.
        overrides: ``key=value`` assignments to the experiment file of all trials.
        output: Where progress is shown.
        address: Ray cluster to join.
        verbose: Whether Ray's own log is shown.

    Raises:
        RequestError: Something in the request is wrong.
        RunError: The run failed; finished stages are kept.
        KeyboardInterrupt: The user ended it; finished stages are kept.
    """
    study = load_study(name)
    if seeds < 1:
        raise RequestError(f"--seeds {seeds}: at least 1")
    chosen = source or (next(iter(study.data_sets)) if place is not None else study.default)
    if chosen in study.data_sets and preset is None and not study.data_sets[chosen].paper and SMALL in study.presets:
        preset = SMALL
    keys = {"storage": "./nmt-runs", "tracking": "sqlite:///mlflow.db", "name": f"reproduce-{name}"}
    content = content_of(study, chosen, preset, place, keys, overrides)
    base = experiment_of(study, content, preset, next(iter(study.rows)), Arm(), 0)

    def fits(experiment: Experiment) -> None:
        check_trial(experiment, address)

    prepared = prepare_experiment(base, output.say, fits)
    title = title_of(study, chosen, preset)
    output.about(experiment=base.name)
    output.say(title)
    trials = study_trials(study, content, preset, prepared, seeds)
    with TrialRunner(base, prepared.folder, address, verbose) as runner:
        return run_study(name, title, study, prepared, trials, runner, output)


def draw_landscape(folder: str) -> Path:
    """The paper's figure 1, which trains nothing but two numbers; returns the picture's path.

    Raises:
        RequestError: The folder cannot be written to.
    """
    from orchestrator.reproduce.landscape import TITLE, descend, landscape_figure

    path = Path(folder).absolute() / "figure1.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        landscape_figure(descend(), TITLE).savefig(path)
    except OSError as error:
        raise RequestError(
            f"{path} cannot be written ({error}); give another folder with --set storage=FOLDER"
        ) from error
    return path


def title_of(study: Study, data_set: str, preset: str | None) -> str:
    """What everything that is printed is headed by: the paper's title, the data, and whether they are the paper's."""
    data = study.data_sets[data_set]
    on = data.title if data.paper else f"{data.title}, which stands in for the paper's data"
    return f"{study.title}; on {on}" + (f"; preset {preset}" if preset else "")
