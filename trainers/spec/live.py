"""The model that is live, as far as it determines what a chain computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Live:
    """The live model, whose losses are limits of every stage: a level in front of the first one.

    Attributes:
        digest: Hash of its content, under which the storage has it.
        tasks: Tasks of the chain that it has too.
        start: Whether the chain starts from its parameters.
    """

    digest: str
    tasks: tuple[str, ...]
    start: bool
