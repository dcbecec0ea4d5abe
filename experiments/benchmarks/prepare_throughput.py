"""The cost of preparing TikTok's format, against reading the same file with ``pyarrow.csv``.

::

    python -m experiments.benchmarks.prepare_throughput --rows 5000000

Writes synthetic rows with the official fields, measures the commands one after the other, and prints a Markdown table.
Reading with threads is measured before and after the others. Rows per second are relative to reading with threads,
processor time (which a busy machine disturbs less) to reading in one thread. Processor time and memory are sampled ten
times a second and summed over all processes of a command. Memory is *proportional* (PSS: a page shared by k processes
counts 1/k in each) and *resident* (RSS: it counts in each). Linux only.
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

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.experiments.data.tiktok import FIELDS, FILE

CHUNK = 250_000
PERIOD = 0.1
"""Seconds between two samples."""

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


def write_rows(path: Path, rows: int) -> None:
    """Write rows with TikTok's fields: few users, many mostly rare videos, rare likes."""
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


def process_tree(root: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
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
    """Return the proportional and the resident memory of a process, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    sizes = {line.split()[0]: int(line.split()[1]) << 10 for line in lines if line.startswith(("Rss:", "Pss:"))}
    return sizes.get("Pss:", 0), sizes.get("Rss:", 0)


def processor(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """The cost of a command and all its processes.

    Attributes:
        seconds: Wall time.
        processor: Processor time, in seconds.
        proportional: Peak proportional memory, in bytes.
        resident: Peak resident memory, in bytes.
        output: Standard output of the command.
    """

    seconds: float
    processor: float
    proportional: int
    resident: int
    output: str


def measure(command: list[str]) -> Cost:
    """Run a command and measure its cost."""
    peaks = [0, 0]
    spent: dict[int, float] = {}
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(PERIOD):
            members = process_tree(process.pid)
            spent.update({pid: max(processor(pid), spent.get(pid, 0.0)) for pid in members})
            sizes = [memory(pid) for pid in members]
            for kind in range(2):
                peaks[kind] = max(peaks[kind], sum(size[kind] for size in sizes))

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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", help="folder to write to; default: the system's folder for temporary files")
    arguments = parser.parse_args()
    rows = arguments.rows
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        file = Path(folder) / FILE
        write_rows(file, rows)
        nmt = [sys.executable, "-m", "nmt.orchestrator.cli", "data", "prepare", "tiktok", str(file)]
        read = [sys.executable, "-c", READ, str(file)]
        fields = ",".join(FIELDS)
        commands = {
            "pyarrow.csv, threads, before": [*read, "threads", fields],
            "pyarrow.csv, one thread": [*read, "one", fields],
            "nmt data prepare, one process": [*nmt, f"{folder}/one", "--no-ray", "--json"],
            "nmt data prepare, Ray Data": [*nmt, f"{folder}/ray", "--ray", "--json"],
            "pyarrow.csv, threads, after": [*read, "threads", fields],
        }
        found: dict[str, Cost] = {}
        for name, command in commands.items():
            found[name] = measure(command)
            print(f"{name}: {found[name].seconds:.1f} s", file=sys.stderr, flush=True)
        fingerprints = {json.loads(found[name].output)["fingerprint"] for name in commands if name.startswith("nmt")}
        size = file.stat().st_size
    plain = sum(found[f"pyarrow.csv, threads, {when}"].seconds for when in ("before", "after")) / 2
    work = found["pyarrow.csv, one thread"].processor
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB\n")
    head = ("", "s", "rows/s", "relative", "processor s", "relative", "memory, GB (proportional)", "(resident)")
    lines = [
        (
            *(name, f"{cost.seconds:.1f}", f"{rows / cost.seconds:,.0f}", f"{plain / cost.seconds:.3f}"),
            *(f"{cost.processor:.1f}", f"{work / cost.processor:.3f}"),
            *(f"{cost.proportional / 1e9:.2f}", f"{cost.resident / 1e9:.2f}"),
        )
        for name, cost in found.items()
    ]
    print(markdown_table(head, lines))
    print(f"\nthe same result with and without Ray: {'yes' if len(fingerprints) == 1 else 'no'}")


if __name__ == "__main__":
    main()
