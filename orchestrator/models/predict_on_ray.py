"""Predictions by several workers, with Ray Data; rows come back in the order of the files."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from nmt.orchestrator.cluster.ray_cluster import cluster
from nmt.orchestrator.errors import RunError, first_line
from nmt.orchestrator.models.predict_rows import predict_table
from nmt.orchestrator.models.rows import ROWS, RowFiles
from nmt.trainers.export.model_folder import TrainedModel
from nmt.trainers.export.predictor import Predictor


def predict_on_ray(
    predictor: Predictor,
    files: RowFiles,
    wanted: Sequence[str],
    keep: Sequence[str],
    prefix: str,
    workers: int,
    address: str | None,
    verbose: bool,
) -> Generator[pa.Table, None, None]:
    """Yield what :func:`~nmt.orchestrator.models.predict.predict_table` returns, part by part of the files.

    Args:
        predictor: The model.
        files: The raw rows; workers read them, so every node must reach them.
        wanted: Columns to read.
        keep: Columns of the data to return too.
        prefix: Put before the names of the tasks.
        workers: Number of workers, each with a copy of the model.
        address: Ray cluster to join; by default Ray is started on this machine.
        verbose: Whether to show Ray's own log.

    Raises:
        ValueError: A column has a type that cannot hold its values.
        RunError: A worker was lost.
    """
    parts = list(files.parts())
    if not parts:
        return
    with cluster(address, verbose):
        import ray
        import ray.data
        from ray.exceptions import RayError

        # Importing Ray Data configures its logger again.
        logging.getLogger("ray.data").setLevel(logging.INFO if verbose else logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.execution_options.verbose_progress = False
        device = predictor.device
        found = ray.data.from_items(
            [{"part": pickle.dumps(part)} for part in parts], override_num_blocks=len(parts)
        ).map_batches(
            _Worker,
            batch_size=1,
            concurrency=min(workers, len(parts)),
            num_cpus=1,
            num_gpus=1 if device.type == "cuda" else 0,
            fn_constructor_args=(
                ray.put(predictor.model.to_files()),
                device.type,
                files.schema,
                list(wanted),
                list(keep),
                prefix,
            ),
        )
        try:
            for row in found.iter_rows():
                if row["error"]:
                    raise ValueError(row["error"])
                yield pa.ipc.open_stream(row["table"]).read_all()
        except RayError as error:
            raise RunError(f"a worker was lost while it predicted: {first_line(error)}") from error


class _Worker:
    """Predicts parts of the data, in a process of its own."""

    def __init__(
        self,
        model: Any,
        device: str,
        schema: pa.Schema,
        wanted: Sequence[str],
        keep: Sequence[str],
        prefix: str,
    ) -> None:
        import ray

        self._predictor = Predictor(TrainedModel.from_files(ray.get(model), "the model"), device)
        self._schema = schema
        self._wanted = wanted
        self._options = (keep, prefix)

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        for pickled in batch["part"]:
            try:
                part = pickle.loads(pickled)
                for rows in part.to_batches(self._schema, columns=self._wanted, batch_size=ROWS):
                    table = predict_table(self._predictor, pa.Table.from_batches([rows]), *self._options)
                    yield {"error": [""], "table": [_to_bytes(table)]}
            except (ValueError, OSError) as error:  # pyarrow's exceptions are such, too
                yield {"error": [first_line(error)], "table": [b""]}


def _to_bytes(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    written: bytes = buffer.getvalue().to_pybytes()
    return written
