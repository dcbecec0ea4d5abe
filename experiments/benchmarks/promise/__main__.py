"""One chain against the best weights that a grid finds, on the same network, data, seeds and samples.

::

    python -m experiments.benchmarks promise experiments/kuairand.yaml --set data.path=kuairand.parquet --seeds 8

For each experiment file and seed it trains a chain by recipe ``joint`` and one by recipe ``paper``, a model for each
task alone, and seven fixed weights, each with the budget of one stage and with that of the whole chain. All differences
are paired by seed. The winner among the weights is chosen on the validation split: the best on the other tasks among
those that keep the first within one standard error of the model trained for it alone. Stages are memoised in
``--storage``: an interrupted run goes on, and another ``--set`` trains only what it changes. Each ``--variant`` is one
more chain, with other values of :class:`~nmt.trainers.spec.settings.Settings`, compared with the experiment's own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.experiments.benchmarks.promise.arms import Variants, build_arms, group_arms
from nmt.experiments.benchmarks.promise.table import (
    Tasks,
    detail_heads,
    detail_rows,
    sign_of,
    summary_heads,
    summary_row,
    variant_heads,
    variant_rows,
)
from nmt.experiments.benchmarks.promise.training import Job, train_arms
from nmt.orchestrator.experiment.prepared import PreparedExperiment, prepare
from nmt.trainers.spec.settings import Settings

NUMBERS = {
    name: kind for name, value in vars(Settings()).items() if (kind := type(value)) in (int, float) and name != "seed"
}
"""Settings that a variant may change, with their kind."""

Results = dict[str, dict[int, dict[str, Any]]]
"""Experiment → seed → arm → its numbers."""


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks promise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="experiment files")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of all files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2, help="trainings at once")
    parser.add_argument(
        "--arms", nargs="*", default=[], help="train only these: joint, variant, paper, single, weights or names"
    )
    parser.add_argument("--variant", action="append", default=[], type=parse_variant, metavar="NAME:KEY=NUMBER,…")
    parser.add_argument("--storage", default="nmt-runs/promise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every arm's numbers to FILE")
    known = "results of --json to add to: only what they lack is trained"
    parser.add_argument("--from", dest="known", type=Path, action="append", default=[], metavar="FILE", help=known)
    return parser.parse_args(words)


def parse_variant(text: str) -> tuple[str, dict[str, float]]:
    """Parse ``alpha 1:later_weight=1``: a name, and the settings in which the chain differs.

    Raises:
        argparse.ArgumentTypeError: The text is not of this form, or names no setting that is a number.
    """
    name, _, values = text.partition(":")
    found: dict[str, float] = {}
    for key, _, value in (pair.partition("=") for pair in values.split(",")):
        if not name or not value:
            raise argparse.ArgumentTypeError(f"expected NAME:KEY=NUMBER,…, found {text!r}")
        if key not in NUMBERS:
            raise argparse.ArgumentTypeError(f"there is no number {key!r} to set; allowed are {', '.join(NUMBERS)}")
        try:
            found[key] = int(value) if NUMBERS[key] is int else float(value)
        except ValueError:
            kind = "a whole number" if NUMBERS[key] is int else "a number"
            raise argparse.ArgumentTypeError(f"{key} must be {kind}, found {value!r}") from None
    return name, found


def main(words: Sequence[str] | None = None) -> None:
    """Train and print."""
    arguments = parse_arguments(words)
    storage = str(Path(arguments.storage).absolute())
    variants = dict(arguments.variant)
    prepared = [prepare(file, [*arguments.set, f"storage={storage}"], _say) for file in arguments.files]
    found = read_results(arguments.known)
    jobs = [
        job for one in prepared for job in plan_jobs(one, storage, arguments.seeds, variants, arguments.arms, found)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=context) as pool:
        for done in as_completed([pool.submit(train_arms, job) for job in jobs]):
            job, trained = done.result()
            found.setdefault(job.experiment, {}).setdefault(job.seed, {}).update(trained)
            _say(f"{job.experiment}, seed {job.seed}: {', '.join(job.arms)}")
            _write(arguments.json, found)
    _write(arguments.json, found)  # where nothing lacked
    report(prepared, found)


def plan_jobs(
    prepared: PreparedExperiment, storage: str, seeds: int, variants: Variants, kinds: Sequence[str], known: Results
) -> list[Job]:
    """Return what is left to train of an experiment.

    Args:
        prepared: The experiment.
        storage: Where stages are memoised.
        seeds: Number of seeds.
        variants: Further chains.
        kinds: Kinds and names of the arms to train; all when empty.
        known: Results that need not be trained again.
    """
    arms = build_arms(prepared.spec, variants)
    wanted = {name: arm for name, arm in arms.items() if not kinds or {name, arm.kind} & {*kinds}}
    jobs = []
    for names in group_arms(wanted):
        for seed in range(seeds):
            there = known.get(prepared.experiment.name, {}).get(seed, {})
            lacking = tuple(name for name in names if name not in there)
            if lacking:
                jobs.append(
                    Job(prepared.experiment.name, prepared.spec, prepared.folder, storage, seed, variants, lacking)
                )
    return jobs


def read_results(files: Sequence[Path]) -> Results:
    """Read results that ``--json`` wrote, and join them."""
    found: Results = {}
    for file in files:
        for experiment, seeds in json.loads(file.read_text()).items():
            for seed, arms in seeds.items():
                found.setdefault(experiment, {}).setdefault(int(seed), {}).update(arms)
    return found


def report(prepared: Sequence[PreparedExperiment], found: Results) -> None:
    """Print the summary and tables per experiment, as Markdown."""
    rows, details = [], []
    for one in prepared:
        by_seed = [arms for _, arms in sorted(found[one.experiment.name].items())]
        variants: Variants = {name: {} for name, arm in by_seed[0].items() if arm["kind"] == "variant"}
        order = [name for name in build_arms(one.spec, variants) if all(name in arms for arms in by_seed)]
        seeds = [{name: arms[name] for name in order} for arms in by_seed]
        first, *others = [[task.name for task in level] for level in one.spec.levels]
        names = [name for level in others for name in level]
        tasks = Tasks(tuple(first), tuple(names), {task.name: sign_of(task.metric) for task in one.spec.tasks})
        if any(arm["kind"] == "single" for arm in seeds[0].values()):
            if any(arm["kind"] == "weights" for arm in seeds[0].values()):
                rows.append(summary_row(one.experiment.name, seeds, tasks))
            details.append((one.experiment.name, tasks, detail_rows(seeds, tasks)))
        changes = variant_rows(seeds, tasks) if "joint" in order else []
        if changes:
            print(f"{one.experiment.name}: other settings against the default ones, paired by seed, test metrics\n")
            print(markdown_table(variant_heads(), changes) + "\n")
    if rows:
        print(markdown_table(summary_heads(), rows))
    for name, tasks, lines in details:
        print(f"\n{name}: {', '.join(tasks.first)} before {', '.join(tasks.others[:4])}, test metrics\n")
        print(markdown_table(detail_heads(), lines))


def _write(file: Path | None, found: Results) -> None:
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
