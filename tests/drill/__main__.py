"""The cost of faults: a chain of three stages on two workers of this machine, once undisturbed and once per fault.

::

    python -m tests.drill --only worker-stage-3,driver

After each fault the command runs to its end, and its results are compared with the undisturbed run: the records and θ*
of all stages bit by bit, and all points in MLflow, in both cases without times. Prints a Markdown table. Problems go to
standard error, and the exit status is then 1.

*Lost steps* are the training passes of the first worker beyond those of the undisturbed run. A worker makes a few
passes that are not steps whenever it starts or resumes a stage. Their number is known from the undisturbed run (passes
that are neither steps nor the certificate's), and is subtracted for each further start in the command's log. *Recovery*
is the time from the fault to the first step of a new process. No process of a command may be left after its end.
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
from tests.drill.site import Site, prepare_site
from tests.drill.table import outcome_table
from tests.drill.trial import fresh_trial
from tests.drill.undisturbed import Undisturbed, run_undisturbed


def run_fault(site: Site, name: str, expected: Undisturbed) -> Outcome:
    """Run the experiment with one fault, and compare it with the undisturbed run."""
    fault = FAULTS[name]
    with fresh_trial(site, name) as trial:
        try:
            return examine(trial, fault, fault.make(trial, expected.content.keys), expected)
        except SkippedError as reason:
            return Outcome(fault.what, skipped=str(reason))
        except DrillError as error:
            return Outcome(fault.what, notes=tuple(trial.notes), problems=(*trial.problems, str(error)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill, and return the exit status."""
    given, names = _parse_arguments(arguments)
    outcomes: list[Outcome] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that processes are ended then, too
    with prepare_site(Path(given.folder).absolute()) as site:
        _say("undisturbed")
        try:
            with fresh_trial(site, "undisturbed") as trial:
                expected = run_undisturbed(trial)
        except DrillError as error:
            _say(str(error))
            return 1
        for name in names:
            _say(FAULTS[name].what)
            outcome = run_fault(site, name, expected)
            outcomes.append(outcome)
            for line in (*outcome.notes, *(f"PROBLEM: {problem}" for problem in outcome.problems)):
                _say(f"  {line}")
            if given.json:
                Path(given.json).write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    print(outcome_table(outcomes))
    return int(any(outcome.problems for outcome in outcomes))


def _parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line; also return the names of the faults."""
    parser = argparse.ArgumentParser(
        "python -m tests.drill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="NAME,…", help=f"some of: {', '.join(FAULTS)}")
    parser.add_argument(
        "--folder", default="nmt-runs/fault-drill", help="folder of the runs; the next drill replaces it"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the outcomes as JSON")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; choose from {', '.join(FAULTS)}")
    return given, names


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
