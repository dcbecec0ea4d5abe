"""What it costs to prepare TikTok's format, against reading the same file with ``pyarrow.csv`` and nothing else.

::

    python -m experiments.benchmarks.prepare_throughput --rows 5000000

Makes up rows with the official fields, and prints a Markdown table, all lines measured in one run, one after the other
and the plain reading twice, before and after: rows a second relative to plain reading with threads, processor time
relative to plain reading in one thread (which a busy machine disturbs less), and the largest memory of all processes
together; both sampled ten times a second. Memory is counted twice: *proportional* (PSS, a page shared by k
processes counts 1/k in each) and *resident* (RSS, a shared page counts in each). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from experiments.data.tiktok import FIELDS, FILE

CHUNK = 250_000
PERIOD = 0.1

READ = """
import sys, pyarrow as pa, pyarrow.csv as csv
threads = sys.argv[2] == "threads"
reader = csv.open_csv(
    sys.argv[1],
    csv.ReadOptions(column_names=sys.argv[3].split(","), use_threads=threads, block_size=16 << 20),
    csv.ParseOptions(delimiter="\\t", quote_char=False),
    csv.ConvertOptions(column_types={name: pa.string() for name in sys.argv[3].split(",")}),
)
print(sum(batch.num_rows for batch in reader))
"""


def make_up(path: Path, rows: int) -> None:
    """Rows with TikTok's fields: few users, many videos of which most are rare, a rare like."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            videos = (rng.pareto(1.0, n) * 2000).astype(np.int64) % 4_000_000
            columns = {
                "uid": rng.integers(0, 70_000, n),
                "user_city": rng.integers(-1, 400, n),
                "item_id": videos,
                "author_id": videos // 5,
                "item_city": videos % 460,
                "channel": rng.integers(0, 5, n),
                "finish": rng.random(n) < 0.35,
                "like": rng.random(n) < 0.01,
                "music_id": videos % 90_000 - 1,
                "device_id": rng.integers(0, 75_000, n),
                "create_time": 53_000_000_000 + start + np.arange(n),
                "video_duration": videos % 60,
            }
            table = pa.table({name: np.asarray(columns[name]).astype(np.int64) for name in FIELDS})
            csv.write_csv(table, file, csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none"))


def family(root: int) -> list[int]:
    """A process and all that it started."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def memory(pid: int) -> tuple[int, int]:
    """Proportional and resident bytes of a process."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) << 10 for line in lines if line.startswith(("Rss:", "Pss:"))}
    return sizes.get("Pss:", 0), sizes.get("Rss:", 0)


def processor(pid: int) -> float:
    """Processor seconds of a process so far."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a command and all that it started took: seconds, processor seconds, bytes; and what it printed."""

    seconds: float
    processor: float
    proportional: int
    resident: int
    output: str


def measure(command: list[str]) -> Cost:
    """Run a command."""
    peaks = [0, 0]
    spent: dict[int, float] = {}
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(PERIOD):
            members = family(process.pid)
            spent.update({pid: max(processor(pid), spent.get(pid, 0.0)) for pid in members})
            sizes = [memory(pid) for pid in members]
            for place in range(2):
                peaks[place] = max(peaks[place], sum(size[place] for size in sizes))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - started
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{command} ended with status {process.returncode}")
    return Cost(seconds, sum(spent.values()), peaks[0], peaks[1], output)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", help="where to write; by default the system's folder for temporary files")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as place:
        file = Path(place) / FILE
        make_up(file, rows)
        nmt = [sys.executable, "-m", "orchestrator.cli", "data", "prepare", "tiktok", str(file)]
        read = [sys.executable, "-c", READ, str(file)]
        fields = ",".join(FIELDS)
        commands = {
            "pyarrow.csv, threads, before": [*read, "threads", fields],
            "pyarrow.csv, one thread": [*read, "one", fields],
            "nmt data prepare, one process": [*nmt, f"{place}/one", "--no-ray", "--json"],
            "nmt data prepare, Ray Data": [*nmt, f"{place}/ray", "--ray", "--json"],
            "pyarrow.csv, threads, after": [*read, "threads", fields],
        }
        found: dict[str, Cost] = {}
        for name, command in commands.items():
            found[name] = measure(command)
            print(f"{name}: {found[name].seconds:.1f} s", file=sys.stderr, flush=True)
        prints = {json.loads(found[name].output)["fingerprint"] for name in commands if name.startswith("nmt")}
        size = file.stat().st_size
    plain = sum(found[f"pyarrow.csv, threads, {when}"].seconds for when in ("before", "after")) / 2
    work = found["pyarrow.csv, one thread"].processor
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB\n")
    print("| | s | rows/s | relative | processor s | relative | memory, GB (proportional) | (resident) |")
    print("|---|---|---|---|---|---|---|---|")
    for name, cost in found.items():
        print(
            f"| {name} | {cost.seconds:.1f} | {rows / cost.seconds:,.0f} | {plain / cost.seconds:.3f} | "
            f"{cost.processor:.1f} | {work / cost.processor:.3f} | {cost.proportional / 1e9:.2f} | "
            f"{cost.resident / 1e9:.2f} |"
        )
    print(f"\nthe same result with and without Ray: {'yes' if len(prints) == 1 else 'no'}")


if __name__ == "__main__":
    main()
