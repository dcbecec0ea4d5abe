"""A check that all workers hold the very same multipliers and parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.faults import DisagreementError
from trainers.multipliers import Multipliers
from trainers.workers.process_group import from_all_workers, world_size

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by their size in bytes."""


def check_agreement(multipliers: Multipliers, model: nn.Module, step: int) -> None:
    """Compare λ, and a checksum of θ, bit by bit over the workers; every worker calls this.

    All-reduced sums are bit-identical on every worker, so a difference means that something is wrong: memory, a
    library, or code of the user's that trains on local numbers.

    Args:
        multipliers: The stage's multipliers.
        model: The model.
        step: Steps of the stage so far, for the message.

    Raises:
        DisagreementError: On every worker, with what each of them holds.
    """
    if world_size() == 1:
        return
    mine = (multipliers.values.tolist(), _checksum(model))
    everyone = from_all_workers(mine)
    for place, name in enumerate(multipliers.names):
        found = [values[place] for values, _ in everyone]
        if len({value.hex() for value in found}) > 1:
            listed = ", ".join(f"{value!r} on worker {rank}" for rank, value in enumerate(found))
            raise DisagreementError(
                f"after step {step} the workers hold different multipliers of task {name!r}: {listed}; "
                "they are computed from all-reduced losses and must be bit-identical. Look for a loss or model that "
                "changes state by worker, and run again: the stage goes on from its last checkpoint"
            )
    if len({checksum for _, checksum in everyone}) > 1:
        raise DisagreementError(
            f"after step {step} the workers hold different parameters (checksums {[c for _, c in everyone]}); "
            "gradients are all-reduced, so they must be bit-identical. Look for a model that changes its parameters by "
            "itself, and run again: the stage goes on from its last checkpoint"
        )


def _checksum(model: nn.Module) -> int:
    """Sum of all parameters read as whole numbers, modulo 2^64; one copy to the host."""
    sums = [_as_integers(parameter.detach()).sum(dtype=torch.int64) for parameter in model.parameters()]
    return int(torch.stack(sums).sum()) if sums else 0


def _as_integers(values: Tensor) -> Tensor:
    return values.contiguous().view(_INTEGERS[values.element_size()])
