"""What faults cost: one chain of three stages, undisturbed and then once per fault, on two workers of this machine.

::

    python -m tests.drill --only worker-stage-3,driver

After every fault the same command runs to its end, and what it leaves is compared with the undisturbed run: the record
of every stage bit by bit, except the time it took, θ* too, and every point in MLflow, except times. Prints a Markdown
table, and what is wrong below it; then the exit status is 1.

*Lost steps* are training passes of the first worker beyond those of the undisturbed run. Before a stage's first step,
or the first one after a checkpoint, a worker makes some passes that are no steps; how many is taken from the
undisturbed run (its passes that are neither steps nor the certificate's), and they are taken off for every further
start of a stage that the command tells of. *Recovery* is the time from the fault to the first step of a new process.
Every command's processes are watched: none may be left when it has ended.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.drill.errors import DrillError, SkippedError
from tests.drill.faults.registry import FAULTS
from tests.drill.outcome import Outcome, examine
from tests.drill.site import Site, site
from tests.drill.table import table
from tests.drill.trial import fresh_trial
from tests.drill.undisturbed import Undisturbed, undisturbed


def drill(ground: Site, name: str, expected: Undisturbed) -> Outcome:
    """Run the experiment with one fault."""
    fault = FAULTS[name]
    with fresh_trial(ground, name) as trial:
        try:
            return examine(trial, fault, fault.make(trial, expected.content.keys), expected)
        except SkippedError as reason:
            return Outcome(fault.what, skipped=str(reason))
        except DrillError as error:
            return Outcome(fault.what, notes=tuple(trial.notes), problems=(*trial.problems, str(error)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare and print; returns the exit status."""
    given, names = _parsed(arguments)
    outcomes: list[Outcome] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left then either
    with site(Path(given.folder).absolute()) as ground:
        _say("undisturbed")
        try:
            with fresh_trial(ground, "undisturbed") as trial:
                expected = undisturbed(trial)
        except DrillError as error:
            _say(str(error))
            return 1
        for name in names:
            _say(FAULTS[name].what)
            outcome = drill(ground, name, expected)
            outcomes.append(outcome)
            for line in (*outcome.notes, *(f"WRONG: {problem}" for problem in outcome.problems)):
                _say(f"  {line}")
            if given.json:
                Path(given.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    print(table(outcomes))
    return int(any(outcome.problems for outcome in outcomes))


def _parsed(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the names of the faults to make."""
    parser = argparse.ArgumentParser(
        "python -m tests.drill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="NAME,…", help=f"some of: {', '.join(FAULTS)}")
    parser.add_argument("--folder", default="nmt-runs/fault-drill", help="what runs leave is kept here until the next")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON too")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; choose among {', '.join(FAULTS)}")
    return given, names


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
