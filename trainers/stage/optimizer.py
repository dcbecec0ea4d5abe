"""The optimiser of θ."""

from __future__ import annotations

from torch import nn, optim

from nmt.trainers.spec.settings import Settings


def build_optimizer(model: nn.Module, settings: Settings, rate: float) -> optim.Optimizer:
    """A fresh optimiser over the parameters that take part in the stage.

    The L2 penalty c‖E‖² of the embeddings stands outside the re-scaled combination, so that its weight does not shrink
    while λ grows. Its gradient 2cE is exactly what the optimiser's ``weight_decay`` of 2c adds (with ``adamw``, where
    weight decay is decoupled, it scales the embeddings down by η_θ · 2c a step instead).

    Args:
        model: The model; parameters without ``requires_grad`` stay out.
        settings: Which optimiser, and the penalty.
        rate: The learning rate η_θ.
    """
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    active = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in active if id(p) not in embeddings], "weight_decay": 0.0},
        {"params": [p for p in active if id(p) in embeddings], "weight_decay": 2 * settings.l2_embedding},
    ]
    groups = [group for group in groups if group["params"]]
    # One pass over memory instead of one for each operation: a fifth of the time on a CPU.
    fits = all(parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda") for parameter in active)
    fused = True if fits else None
    match settings.optimizer:
        case "adam":
            return optim.Adam(groups, lr=rate, fused=fused)
        case "adamw":
            return optim.AdamW(groups, lr=rate, fused=fused)
        case "sgd":
            return optim.SGD(groups, lr=rate)
