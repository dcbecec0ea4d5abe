"""Measures what this project adds to training, every rival in turn within one run.

::

    python -m experiments.benchmarks                       # all of them
    python -m experiments.benchmarks step cooper --json found.json

A ratio is ours over the rival's, the median over rounds that measured both; quartiles tell how much rounds differ, and
a busy machine disturbs the ratio of processor time less. Results are Markdown on standard output (tables in a
terminal), progress goes to standard error. One thread a process, unless ``--threads`` says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSION = 1
"""Version of the JSON document."""


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends with status 2 where it is wrong."""
    from experiments.benchmarks.suite import BENCHMARKS, SCRIPTS, chosen

    lines = [f"  {name:<20}{one.summary}; {one.minutes:g} min" for name, one in BENCHMARKS.items()]
    scripts = [f"  {name:<20}{summary}" for name, summary in SCRIPTS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            ["benchmarks:", *lines, "", "with a command line of their own (-m experiments.benchmarks.NAME):", *scripts]
        ),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them when absent")
    parser.add_argument("--rounds", type=int, help="rounds of each benchmark; its own number when absent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there, after each benchmark")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not what it costs")
    parser.add_argument("--data", metavar="FILE", help="ToxCast's Parquet file, for 'chain'")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch in a process")
    arguments = parser.parse_args(words)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, found {arguments.rounds}")
    try:
        chosen(arguments.names)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    return {
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "niceness": os.nice(0),
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write down."""
    arguments = arguments_of(words)
    import torch

    from experiments.benchmarks.harness.options import Options
    from experiments.benchmarks.harness.page import show
    from experiments.benchmarks.suite import chosen

    torch.set_num_threads(arguments.threads)
    benchmarks = chosen(arguments.names)
    if not arguments.quick:
        _say(f"{len(benchmarks)} benchmarks, about {sum(one.minutes for one in benchmarks.values()):g} minutes")
    document: dict[str, Any] = {
        "version": VERSION,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": arguments.quick,
        "machine": machine(arguments.threads),
        "benchmarks": [],
    }
    for name, benchmark in benchmarks.items():
        _say(f"{name}: {benchmark.summary}")
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"nmt-{name}-") as folder:
            result = benchmark.run(Options(Path(folder), arguments.rounds, arguments.quick, arguments.data))
        seconds = round(time.monotonic() - began, 1)
        _say(f"{name}: {seconds:.0f} s")
        show(result)
        document["benchmarks"].append({**result.to_dict(), "seconds": seconds})
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
