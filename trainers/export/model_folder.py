"""The folder of a trained model: everything that a prediction needs, and nothing that runs code when it is read.

::

    MODEL/model.json             tasks, network, schema, guarantees, where it comes from
    MODEL/encoder.json           MODEL/vocabulary.parquet      raw columns → ids and numbers
    MODEL/weights.pt             parameters and buffers, read with ``weights_only=True``
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nmt.trainers.data.schema import Schema
from nmt.trainers.encoding.encoder import ENCODER, VOCABULARY, Encoder
from nmt.trainers.export.answers import Answer, answer_of
from nmt.trainers.models.build import build_model
from nmt.trainers.spec.chain_spec import ModelSpec
from nmt.trainers.spec.settings import Precision
from nmt.trainers.spec.task import Task
from nmt.trainers.store.serialization import from_bytes, to_bytes

VERSION = 1
"""Version of the folder; one of another version is refused."""

MODEL = "model.json"
WEIGHTS = "weights.pt"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model.

    Attributes:
        tasks: Its tasks, by priority.
        network: Which network it is.
        schema: Columns of the data that it was trained on.
        encoder: How raw rows become those columns.
        state: Parameters and buffers.
        precision: Arithmetic of its forward pass.
        guarantees: How it stands to each protected task, as ``nmt run --json`` says it.
        origin: Where it comes from: experiment, stage key, MLflow run, program version.
    """

    tasks: tuple[Task, ...]
    network: ModelSpec
    schema: Schema
    encoder: Encoder
    state: Mapping[str, Tensor]
    precision: Precision = "fp32"
    guarantees: Sequence[Mapping[str, Any]] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> Mapping[str, Answer]:
        """Task → what its prediction is."""
        return {task.name: answer_of(task.loss) for task in self.tasks}

    def build(self) -> nn.Module:
        """Build the network with its parameters, in evaluation mode.

        Raises:
            ValueError: The network cannot be built, such as a user's own that cannot be imported here.
        """
        module = build_model(self.network, self.schema, self.tasks, 0)
        module.load_state_dict(dict(self.state))
        return module.eval()

    def to_files(self) -> dict[str, bytes]:
        """Return the folder's files: name → content."""
        content = {
            "version": VERSION,
            "tasks": [{**asdict(task), "answer": answer_of(task.loss)} for task in self.tasks],
            "network": asdict(self.network),
            "precision": self.precision,
            "schema": json.loads(self.schema.to_json()),
            "guarantees": list(self.guarantees),
            "origin": dict(self.origin),
        }
        return {
            MODEL: json.dumps(content, indent=1).encode(),
            WEIGHTS: to_bytes(dict(self.state)),
            **self.encoder.to_files(),
        }

    def write(self, folder: Path) -> None:
        """Write the folder; files that it already has are replaced."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.to_files().items():
            (folder / name).write_bytes(content)

    @classmethod
    def read(cls, folder: Path) -> TrainedModel:
        """Read a folder.

        Raises:
            FileNotFoundError: It is not the folder of a model.
            ValueError: It is damaged, or of another version.
        """
        if not (folder / MODEL).is_file():
            found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else "no such folder"
            raise FileNotFoundError(f"{folder} is not the folder of a model: it has no {MODEL} (found {found})")
        names = [name for name in (MODEL, WEIGHTS, ENCODER, VOCABULARY) if (folder / name).is_file()]
        return cls.from_files({name: (folder / name).read_bytes() for name in names}, str(folder))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> TrainedModel:
        """Read what :meth:`to_files` wrote.

        Args:
            files: Name → content.
            where: Where they are, for messages.

        Raises:
            ValueError: They are damaged, or of another version.
        """
        try:
            content: dict[str, Any] = json.loads(files[MODEL])
            version = content["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{where}/{MODEL} is damaged ({error}); export the model again") from error
        if version != VERSION:
            raise ValueError(
                f"{where}/{MODEL} has version {version}, this program reads {VERSION}; export the model again, "
                "or use the program that wrote it"
            )
        try:
            encoder = Encoder.from_files({name: files[name] for name in (ENCODER, VOCABULARY)})
            state = from_bytes(files[WEIGHTS])
            return cls(
                tasks=tuple(
                    Task(**{key: value for key, value in task.items() if key != "answer"}) for task in content["tasks"]
                ),
                network=ModelSpec(**content["network"]),
                schema=Schema.from_json(json.dumps(content["schema"])),
                encoder=encoder,
                state=state,
                precision=content["precision"],
                guarantees=content["guarantees"],
                origin=content["origin"],
            )
        except (KeyError, TypeError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(f"the model in {where} is damaged ({error}); export it again") from error
