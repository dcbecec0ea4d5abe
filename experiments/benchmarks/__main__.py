"""Measure what this project adds to training, in turn with each rival.

::

    python -m experiments.benchmarks                       # all of them
    python -m experiments.benchmarks step cooper --json found.json

A ratio is our time over the rival's: the median over rounds that measured both, with quartiles. The ratio of processor
time suffers less from a busy machine. Results go to standard output, as tables in a terminal and as Markdown otherwise;
progress goes to standard error. Each process uses one thread unless ``--threads`` says otherwise.
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
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VERSION = 1
"""Version of the JSON document."""


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; a wrong one exits with status 2."""
    from nmt.experiments.benchmarks.suite import BENCHMARKS, SCRIPTS, select

    lines = [f"  {name:<20}{one.summary}; {one.minutes:g} min" for name, one in BENCHMARKS.items()]
    scripts = [f"  {name:<20}{summary}" for name, summary in SCRIPTS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "benchmarks:",
                *lines,
                "",
                "scripts, each with its own --help:",
                *scripts,
            ]
        ),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; default: all")
    parser.add_argument("--rounds", type=int, help="rounds of each benchmark; default: its own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE after each benchmark")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see whether it works")
    parser.add_argument("--data", metavar="FILE", help="ToxCast's Parquet file, for 'chain'")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of a process")
    arguments = parser.parse_args(words)
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds must be at least 1, found {arguments.rounds}")
    try:
        select(arguments.names)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def machine(threads: int) -> dict[str, Any]:
    """Describe the machine of the measurements."""
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
    """Measure and report; a script's name is followed by its own arguments."""
    from nmt.experiments.benchmarks.suite import SCRIPTS

    words = sys.argv[1:] if words is None else words
    if words and words[0] in SCRIPTS:
        sys.argv = list(words)
        script = f"nmt.experiments.benchmarks.{words[0]}"
        spec = find_spec(script)
        is_folder = spec is not None and spec.submodule_search_locations is not None
        import_module(f"{script}.__main__" if is_folder else script).main()
        return
    arguments = parse_arguments(words)
    import torch

    from nmt.experiments.benchmarks.harness.options import Options
    from nmt.experiments.benchmarks.harness.page import show
    from nmt.experiments.benchmarks.suite import select

    torch.set_num_threads(arguments.threads)
    benchmarks = select(arguments.names)
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
