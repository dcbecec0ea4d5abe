"""``nmt refresh`` day by day, against a chain trained anew each day and against not training at all.

::

    python -m experiments.benchmarks refresh_days experiments/kuairand.yaml --set data.path=kuairand.parquet --by date

The last days of a log are "today" in turn: today is the test split, the day before the validation split, what came
before them is for training. Every day a chain goes on from the model of the day before (``nmt refresh``), another one
is trained anew, and the refreshed model of the day before is measured as it is. All three are measured on today's rows;
differences are paired by seed, with the standard error over seeds. Another run with the same ``--folder`` trains
nothing again.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.orchestrator.experiment.file import load
from nmt.orchestrator.experiment.prepared import prepare_experiment
from nmt.orchestrator.models.evaluate import evaluate_files
from nmt.orchestrator.models.finished import finished_model
from nmt.orchestrator.refresh.refresh import refresh_experiment
from nmt.orchestrator.terminal.current_output import current_output
from nmt.orchestrator.verbs.run import run_experiment
from nmt.trainers.export.predictor import Predictor

HEADS = (
    *("day", "training rows", "new ids", "samples: refresh", "anew"),
    *("task", "metric: refresh", "anew − refresh", "not trained − refresh"),
)


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks refresh_days",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="experiment file on a Parquet table")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the file")
    parser.add_argument("--by", default="date", metavar="COLUMN", help="column that orders the days")
    parser.add_argument("--days", type=int, default=3, help="days that are refreshed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--window", type=int, help="days of training rows; all earlier ones by default")
    parser.add_argument("--folder", type=Path, default=Path("nmt-runs/refresh_days"), help="tables, stages, records")
    return parser.parse_args(words)


def write_day(rows: pa.Table, by: str, days: Sequence[object], today: int, window: int | None, path: Path) -> int:
    """Write the table of one day, and return its number of training rows.

    Args:
        rows: The log.
        by: Column that orders the days.
        days: Its values, in order.
        today: Place of today among them.
        window: Days of training rows; all earlier ones when absent.
        path: File to write.

    Raises:
        ValueError: There are fewer than two days before today.
    """
    earlier = days[: today - 1]
    if not earlier:
        raise ValueError(f"{days[today]} has {today} days before it in the data, two are needed")
    splits = dict.fromkeys(earlier[-(window or len(earlier)) :], "train")
    splits |= {days[today - 1]: "valid", days[today]: "test"}
    chosen = rows.filter(pc.is_in(rows[by], pa.array(list(splits), rows.schema.field(by).type)))
    split = pa.array([splits[value] for value in chosen[by].to_pylist()])
    if "split" in chosen.column_names:
        chosen = chosen.drop_columns("split")
    if not path.exists():  # a source looks at the time of a file
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(chosen.append_column("split", split), path)
    return int(pc.sum(pc.equal(split, "train")).as_py())


@dataclass(frozen=True)
class _Day:
    """What one seed found on one day: samples, new ids, and a metric per task for each of the three models."""

    new_ids: int
    samples: tuple[int, int]
    refreshed: tuple[float, ...]
    anew: tuple[float, ...]
    untrained: tuple[float, ...] | None


def main(words: Sequence[str] | None = None) -> None:
    """Train the days in turn, and print a table."""
    arguments = parse_arguments(words)
    folder = arguments.folder.absolute()
    overrides = [*arguments.set, f"storage={folder / 'runs'}", f"tracking=sqlite:///{folder / 'mlflow.db'}"]
    given = load(arguments.file, overrides)
    if given.data.path is None:
        sys.exit(f"{arguments.file}: set data.path to a Parquet file with a column {arguments.by}")
    rows = pq.read_table(given.data.path)
    days = sorted(pc.unique(rows[arguments.by]).to_pylist())
    window = str(arguments.window or "all")
    paths = [folder / window / f"{day}.parquet" for day in days]
    todays = range(len(days) - arguments.days, len(days))
    trained_on = [write_day(rows, arguments.by, days, today, arguments.window, paths[today]) for today in todays]
    seeds = [
        train_days(arguments.file, overrides, [paths[today] for today in todays], f"{window}-{seed}", seed)
        for seed in range(arguments.seeds)
    ]
    table = []
    for place, today in enumerate(todays):
        found = [seed[place] for seed in seeds]
        head = [str(days[today]), f"{trained_on[place]:,}", f"{mean(one.new_ids for one in found):,.0f}"]
        head += [f"{mean(one.samples[which] for one in found):,.0f}" for which in range(2)]
        for number, task in enumerate(task.name for level in given.levels for task in level):
            cells = [f"{mean(one.refreshed[number] for one in found):.4f}"]
            cells.append(_difference([one.anew[number] - one.refreshed[number] for one in found]))
            cells.append(_difference([one.untrained[number] - one.refreshed[number] for one in found if one.untrained]))
            table.append([*(head if not number else [""] * len(head)), task, *cells])
    print(markdown_table(HEADS, table))


def train_days(file: str, overrides: Sequence[str], paths: Sequence[Path], label: str, seed: int) -> list[_Day]:
    """Train one seed's days in turn.

    Args:
        file: The experiment file.
        overrides: ``key=value`` assignments.
        paths: Table of each day.
        label: Tells the experiments of windows and seeds apart: a refresh goes on from the day before of its own.
        seed: Seed of the training.
    """
    output = current_output()
    found = []
    before: Predictor | None = None
    for path in paths:
        experiment = load(file, [*overrides, f"data.path={path}", f"training.seed={seed}"])
        experiment = experiment.model_copy(update={"name": f"{experiment.name}-{label}"})
        done = refresh_experiment(experiment, output)
        anew = experiment.model_copy(update={"name": f"{experiment.name}-anew"})
        alone = run_experiment(prepare_experiment(anew, output.say), output)
        refreshed = Predictor(finished_model(done.chain.prepared))
        samples = (done.day.samples, sum(record.samples for record in alone.records))
        fresh = _measure(Predictor(finished_model(alone.prepared)), path)
        untrained = _measure(before, path) if before is not None else None
        new_ids = sum(done.day.new_tokens.values())
        found.append(_Day(new_ids, samples, _measure(refreshed, path), fresh, untrained))
        before = refreshed
    return found


def _measure(predictor: Predictor, path: Path) -> tuple[float, ...]:
    """Return each task's metric on today's rows."""
    return tuple(float(task.value or 0.0) for task in evaluate_files(predictor, str(path), None, "split=test"))


def _difference(values: Sequence[float]) -> str:
    if not values:
        return ""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{mean(values):+.4f} ± {error:.4f}"


if __name__ == "__main__":
    main()
