"""The cost of ``nmt predict``, against a bare loop over the same rows, and its memory on many rows.

::

    python -m experiments.benchmarks.predict_throughput --rows 1000000 --many 20000000

Writes made-up rows of a log (ten columns of tokens, four of numbers) and exports an untrained model. The bare loop is
what a good engineer writes for this one model: read batches of columns, look tokens up with ``pyarrow.compute``, run
the network, write a column per task. Both run in this process in turn, round by round, with the same threads; the
ratio is ours over the loop's. Memory is the peak of a process of its own that predicts so many rows.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.experiments.benchmarks.harness.pairing import Paired
from nmt.orchestrator.models.predict import predict_files
from nmt.orchestrator.models.rows import ROWS
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.encoding.encoder import Encoded, Encoder
from nmt.trainers.encoding.numbers import NumberColumn
from nmt.trainers.encoding.tokens import TokenColumn
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import BATCH_ROWS, Predictor, to_batch
from nmt.trainers.models.build import build_model
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.task import Task

TOKENS = {f"token{place}": size for place, size in enumerate((50_000, 20_000, 5_000, 500, 100, 50, 20, 10, 5, 3))}
NUMBERS = ("duration", "age", "followers", "hour")
TASKS = (Task("like", "binary_cross_entropy"), Task("finish", "binary_cross_entropy"))
CHUNK = 250_000


def export_model() -> TrainedModel:
    """Return an untrained model with vocabularies of half of the tokens."""
    columns = {name: TokenColumn(pa.int64(), pa.array(np.arange(0, size, 2))) for name, size in TOKENS.items()}
    schema = Schema(
        {name: column.size for name, column in columns.items()},
        {name: Numeric(1.0, 2.0) for name in NUMBERS},
        labels={task.label: 2 for task in TASKS},
    )
    network = ModelSpec("shared_bottom", {"embedding_dim": 8, "bottom_units": [128, 64], "tower_units": [32]})
    encoder = Encoder(columns, {name: NumberColumn(True, 1.0) for name in NUMBERS})
    return TrainedModel(TASKS, network, schema, encoder, build_model(network, schema, TASKS, 0).state_dict())


def write_rows(path: Path, rows: int) -> None:
    """Write raw rows with some missing values."""
    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, rows, CHUNK):
        n = min(CHUNK, rows - start)
        columns = {name: pa.array(rng.integers(0, size, n), mask=rng.random(n) < 0.02) for name, size in TOKENS.items()}
        columns |= {name: pa.array(rng.lognormal(size=n), mask=rng.random(n) < 0.02) for name in NUMBERS}
        table = pa.table({"row": pa.array(np.arange(start, start + n)), **columns})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def predict_in_a_bare_loop(model: TrainedModel, module: torch.nn.Module, data: Path, out: Path) -> None:
    """Predict as one writes it for this model alone."""
    writer = None
    vocabularies = {name: column.tokens for name, column in model.encoder.categorical.items()}
    for batch in pq.ParquetFile(data).iter_batches(ROWS):
        ids = np.empty((batch.num_rows, len(vocabularies)), np.int32)
        for place, (name, tokens) in enumerate(vocabularies.items()):
            found = pc.fill_null(pc.index_in(batch[name], value_set=tokens), len(tokens))
            ids[:, place] = found.to_numpy() + 1
        numbers = np.empty((batch.num_rows, len(NUMBERS)), np.float32)
        for place, name in enumerate(NUMBERS):
            numbers[:, place] = np.nan_to_num(np.log1p(batch[name].to_numpy(zero_copy_only=False)), nan=1.0)
        encoded = Encoded(ids, numbers, np.empty((batch.num_rows, 0), np.uint8))
        parts: dict[str, list[torch.Tensor]] = {task.name: [] for task in TASKS}
        with torch.inference_mode():
            for first in range(0, batch.num_rows, BATCH_ROWS):
                rows = slice(first, first + BATCH_ROWS)
                outputs = module(to_batch(encoded, rows, torch.device("cpu")))
                for name, part in parts.items():
                    part.append(outputs[name].sigmoid())
        columns = {name: torch.cat(part).numpy() for name, part in parts.items()}
        table = pa.table({"row": batch["row"], **columns})
        writer = writer or pq.ParquetWriter(out, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.predict_throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=20_000_000, help="rows whose memory is measured; 0: not measured")
    parser.add_argument("--memory", nargs=2, metavar=("DATA", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    model = export_model()
    if arguments.memory is not None:
        predict_files(Predictor(model), *arguments.memory, keep=["row"])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "rows.parquet"
        write_rows(data, arguments.rows)
        predictor, module = Predictor(model), model.build()
        ours, theirs = [], []
        for turn in range(arguments.rounds + 1):
            start = time.perf_counter()
            predict_files(predictor, str(data), str(folder / "ours.parquet"), keep=["row"])
            middle = time.perf_counter()
            predict_in_a_bare_loop(model, module, data, folder / "theirs.parquet")
            if turn:  # the first round warms up
                ours.append(middle - start)
                theirs.append(time.perf_counter() - middle)
        _check_equal(folder)
        found = Paired.of(tuple(ours), tuple(theirs))
        ratio = f"{found.median:.3f} ({found.lower:.3f} to {found.upper:.3f})"
        print(markdown_table(["what", "against", "ratio of time"], [["nmt predict", "a bare loop", ratio]]))
        print()
        sizes = [arguments.rows, *([arguments.many] if arguments.many else [])]
        print(markdown_table(["rows", "peak memory, GB"], [[f"{n:,}", _memory(folder, n)] for n in sizes]))


def _check_equal(folder: Path) -> None:
    ours, theirs = (
        pq.read_table(folder / f"{name}.parquet", columns=["like", "finish"]) for name in ("ours", "theirs")
    )
    for name in ours.column_names:
        np.testing.assert_allclose(ours[name].to_numpy(), theirs[name].to_numpy(), atol=1e-6)


def _memory(folder: Path, rows: int) -> str:
    data = folder / f"{rows}.parquet"
    write_rows(data, rows)
    command = [sys.executable, "-m", "nmt.experiments.benchmarks.predict_throughput"]
    done = subprocess.run(
        [*command, "--memory", str(data), str(folder / "many.parquet")], capture_output=True, text=True, check=True
    )
    data.unlink()
    return f"{float(done.stdout):.2f}"


if __name__ == "__main__":
    main()
