"""The live model in the storage, by its content, where every worker finds it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from nmt.trainers.encoding.encoder import ENCODER, VOCABULARY, to_text
from nmt.trainers.export.model_folder import MODEL, WEIGHTS, TrainedModel
from nmt.trainers.faults import DamagedError
from nmt.trainers.store.storage import Storage


def digest_of(model: TrainedModel) -> str:
    """Return a hash of what determines a model's outputs; where it comes from is no part of it."""
    digest = hashlib.sha256()
    content = {
        "tasks": [asdict(task) for task in model.tasks],
        "network": asdict(model.network),
        "precision": model.precision,
        "schema": json.loads(model.schema.to_json()),
        "encoder": json.loads(model.encoder.to_files()[ENCODER]),
    }
    digest.update(json.dumps(content, sort_keys=True).encode())
    for name, column in model.encoder.categorical.items():
        digest.update(json.dumps([name, to_text(column.tokens).to_pylist()]).encode())
    for name, value in sorted(model.state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()[:20]


def keep_live(storage: str, model: TrainedModel) -> str:
    """Keep a model in the storage, once; return its hash.

    Raises:
        OSError: The storage cannot be written to.
    """
    digest, place = digest_of(model), Storage(storage)
    if not place.exists(f"live/{digest}/{MODEL}"):
        files = model.to_files()
        # The file that says that the folder is whole comes last, as object stores have no rename.
        place.write_folder(f"live/{digest}", {name: files[name] for name in (WEIGHTS, ENCODER, VOCABULARY, MODEL)})
    return digest


def has_live(storage: str, digest: str) -> bool:
    """Whether the storage has the model of this hash."""
    return Storage(storage).exists(f"live/{digest}/{MODEL}")


def read_live(storage: str, digest: str) -> TrainedModel:
    """Read a model that was kept.

    Raises:
        DamagedError: It is missing or damaged.
    """
    place = Storage(storage)
    where = place.full_path(f"live/{digest}")
    try:
        files = {name: place.read(f"live/{digest}/{name}") for name in (WEIGHTS, ENCODER, VOCABULARY, MODEL)}
        return TrainedModel.from_files(files, where)
    except (OSError, ValueError) as error:
        raise DamagedError(f"the live model in {where} is missing or damaged ({error}); delete it and run again") from (
            error
        )
