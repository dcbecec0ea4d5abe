"""The command ``nmt reproduce``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nmt.orchestrator.cluster.tuning.placement import check_trial
from nmt.orchestrator.cluster.tuning.runner import TrialRunner
from nmt.orchestrator.errors import RequestError
from nmt.orchestrator.experiment.prepared import prepare_experiment
from nmt.orchestrator.experiment.sections import Experiment
from nmt.orchestrator.reproduce.run import Reproduced, run_study, study_trials
from nmt.orchestrator.reproduce.study import Arm, Study, content_of, experiment_of, load_study
from nmt.orchestrator.terminal.output import Output

SMALL = "small"
"""Default preset for data that stand in for the paper's."""


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
        name: Name of the study, such as ``table1``.
        source: Data set; when absent, the paper's if ``place`` is given, otherwise the one that needs no file.
        place: Path of the data.
        seeds: Number of seeds.
        preset: Name of a preset of smaller sizes; when absent, ``small`` for stand-ins and none for the paper's data.
        overrides: ``key=value`` assignments to the experiment file of all trials.
        output: Where progress is shown.
        address: Ray cluster to join.
        verbose: Whether to show Ray's own log.

    Raises:
        RequestError: The request is wrong.
        RunError: The run failed; finished stages are kept.
        KeyboardInterrupt: The user interrupted it; finished stages are kept.
    """
    study = load_study(name)
    if seeds < 1:
        raise RequestError(f"--seeds {seeds}: must be at least 1")
    data_set = source or (next(iter(study.data_sets)) if place is not None else study.default)
    if (
        data_set in study.data_sets
        and preset is None
        and not study.data_sets[data_set].paper
        and SMALL in study.presets
    ):
        preset = SMALL
    keys = {"storage": "./nmt-runs", "tracking": "sqlite:///mlflow.db", "name": f"reproduce-{name}"}
    content = content_of(study, data_set, preset, place, keys, overrides)
    base = experiment_of(study, content, preset, next(iter(study.rows)), Arm(), 0)

    def check_placement(experiment: Experiment) -> None:
        check_trial(experiment, address)

    prepared = prepare_experiment(base, output.say, check_placement)
    title = title_of(study, data_set, preset)
    output.about(experiment=base.name)
    output.say(title)
    trials = study_trials(study, content, preset, prepared, seeds)
    with TrialRunner(base, prepared.folder, address, verbose) as runner:
        return run_study(name, title, study, prepared, trials, runner, output)


def draw_landscape(folder: str) -> Path:
    """Draw the paper's figure 1, which trains only two parameters; return the path of the image.

    Raises:
        RequestError: The folder cannot be written to.
    """
    from nmt.orchestrator.reproduce.landscape import TITLE, descend, landscape_figure

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
    """Return the title of all output: the paper's title, the data and whether they are the paper's, and the preset."""
    data = study.data_sets[data_set]
    on = data.title if data.paper else f"{data.title}, which stands in for the paper's data"
    return f"{study.title}; on {on}" + (f"; preset {preset}" if preset else "")
