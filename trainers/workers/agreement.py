"""Check that all workers hold bit-identical multipliers and parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.trainers.faults import DisagreementError
from nmt.trainers.multipliers import Multipliers
from nmt.trainers.workers.process_group import gather_objects, world_size

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes per element → integer type of that size."""


def check_agreement(multipliers: Multipliers, model: nn.Module, step: int) -> None:
    """Compare λ and a checksum of θ over the workers, bit by bit; every worker must call this.

    All-reduced sums are bit-identical on every worker. A difference means faulty memory, a faulty library, or user code
    that trains on local values.

    Args:
        multipliers: The stage's multipliers.
        model: The model.
        step: Steps of the stage so far, for the message.

    Raises:
        DisagreementError: Workers differ. Raised on every worker; the message lists the value on each of them.
    """
    if world_size() == 1:
        return
    mine = (multipliers.values.tolist(), _checksum(model))
    everyone = gather_objects(mine)
    for i, name in enumerate(multipliers.names):
        found = [values[i] for values, _ in everyone]
        if len({value.hex() for value in found}) > 1:
            listed = ", ".join(f"{value!r} on worker {rank}" for rank, value in enumerate(found))
            raise DisagreementError(
                f"after step {step} the workers hold different multipliers of task {name!r}: {listed}; "
                "they are computed from all-reduced losses and must be bit-identical. Look for a loss or model whose "
                "state depends on the worker, and run again: the stage resumes from its last checkpoint"
            )
    if len({checksum for _, checksum in everyone}) > 1:
        raise DisagreementError(
            f"after step {step} the workers hold different parameters (checksums {[c for _, c in everyone]}); "
            "gradients are all-reduced, so they must be bit-identical. Look for a model that changes its parameters "
            "outside the optimizer, and run again: the stage resumes from its last checkpoint"
        )


def _checksum(model: nn.Module) -> int:
    """Sum the bits of all parameters, read as integers, modulo 2^64; one copy to the host."""
    sums = [_as_integers(parameter.detach()).sum(dtype=torch.int64) for parameter in model.parameters()]
    return int(torch.stack(sums).sum()) if sums else 0


def _as_integers(values: Tensor) -> Tensor:
    return values.contiguous().view(_INTEGERS[values.element_size()])
