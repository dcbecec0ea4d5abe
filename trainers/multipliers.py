"""Lagrange multipliers for prioritised multi-task learning: the whole algorithm, for any training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nmt.trainers.pi_rule import proportional_step

Violation = Literal["absolute", "relative"]


class Multipliers(nn.Module):
    r"""One multiplier :math:`\lambda_i \ge 0` per protected task, which keeps it at its optimum while others improve.

    Stage k of "No More Tuning" (arXiv 2412.12092, equations 6-7 and Algorithm 1) minimises :math:`L_k(\theta)` subject
    to :math:`L_i(\theta) \le L_i^* + \varepsilon_i` for every protected task i. With losses :math:`\ell` on the global
    minibatch, one step is

    .. math::
        w_k = \frac{1}{1 + \sum_j \lambda_j}, \qquad w_i = \frac{\lambda_i}{1 + \sum_j \lambda_j}
              \qquad\text{(the paper's re-scaling: weights sum to 1)} \\
        \theta \leftarrow \text{optimiser step on } \sum_i w_i \ell_i \qquad\text{(:meth:`combine`, one backward)} \\
        \lambda_i \leftarrow \max(0,\; \lambda_i + \eta_\lambda (\ell_i - L_i^* - \varepsilon_i))
              \qquad\text{(:meth:`ascend`, projected gradient ascent)}

    The two updates are **simultaneous**: both use the same losses, computed before either update.

    A vector of losses starts with the protected tasks, in the order of ``optima``, and ends with the objective. Several
    objective tasks may have equal priority; their losses are summed.

    A step whose violations are not all finite leaves every multiplier as it is, on every worker; :attr:`skipped` counts
    such steps. The step on θ is the caller's to skip.

    :meth:`ascend` all-reduces the losses over workers, so the multipliers are bit-identical on every worker. Neither
    method synchronises the device with the host.

    Args:
        optima: :math:`L_i^*`, the recorded optimum of each protected task, in units of its loss.
        rate: :math:`\eta_\lambda > 0`, in units of λ per unit of violation.
        tolerance: :math:`\varepsilon_i \ge 0`, one for all tasks or one per task, in units of the loss.
        initial: :math:`\lambda_0 \ge 0`, one for all tasks or one per task.
        names: Names of the protected tasks; saved with the state, and checked when a state is loaded.
        violation: ``"absolute"`` uses :math:`\ell_i - L_i^* - \varepsilon_i` as the paper does; ``"relative"`` divides
            this by :math:`|L_i^*|`, so that ``rate`` does not depend on the scale of the losses. A task
            whose optimum is exactly 0 has no scale: its violation stays absolute.
        proportional: :math:`\kappa_P \ge 0`, in units of λ per unit of violation. Above 0, λ follows the ν-PI rule of
            Sohrabi et al. 2024 (arXiv 2406.04558) instead of plain gradient ascent, with ``rate`` as
            :math:`\kappa_I`; see :func:`~nmt.trainers.pi_rule.proportional_step`. It damps oscillations of λ.
        smoothing: ν in (−1, 1), of the moving average in the proportional term.
        dtype: Floating type of the state. Double by default: increments are many orders of magnitude smaller than λ,
            and m numbers cost nothing. ``.half()`` or ``.bfloat16()`` of a parent module does not change it.
        group: Process group to all-reduce over; the default group when ``None``.

    Raises:
        ValueError: An argument is out of range, or lengths differ.

    Example:
        >>> multipliers = Multipliers(optima=[0.0], rate=0.5, tolerance=0.04, initial=2.0)
        >>> x = torch.tensor([1.0, 0.0], requires_grad=True)
        >>> losses = torch.stack([x[0] ** 2, (x[0] - 1) ** 2 + (x[1] - 2) ** 2])
        >>> multipliers.combine(losses).backward()
        >>> multipliers.ascend(losses)
        >>> multipliers.values
        tensor([2.4800], dtype=torch.float64)
    """

    multipliers: Tensor
    optima: Tensor
    tolerance: Tensor
    smoothed: Tensor
    started: Tensor
    skipped: Tensor
    """Steps whose violations were not all finite, and that moved no multiplier; int64, on the module's device."""

    def __init__(
        self,
        optima: Sequence[float] | Tensor,
        rate: float,
        tolerance: float | Sequence[float] | Tensor = 0.0,
        initial: float | Sequence[float] | Tensor = 1.0,
        *,
        names: Sequence[str] | None = None,
        violation: Violation = "absolute",
        proportional: float = 0.0,
        smoothing: float = 0.0,
        dtype: torch.dtype = torch.float64,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        optima = torch.as_tensor(optima, dtype=dtype).detach().clone()
        if optima.dim() != 1:
            raise ValueError(f"optima must be one number per protected task, found shape {tuple(optima.shape)}")
        if not bool(optima.isfinite().all()):
            raise ValueError(f"optima must be finite numbers, found {optima.tolist()}")
        if not 0 < rate < math.inf:
            raise ValueError(f"rate (eta_lambda) must be a finite number greater than 0, found {rate}")
        if violation not in ("absolute", "relative"):
            raise ValueError(f"violation must be 'absolute' or 'relative', found {violation!r}")
        if not 0 <= proportional < math.inf:
            raise ValueError(f"proportional must be a finite number of at least 0, found {proportional}")
        if not -1 < smoothing < 1:
            raise ValueError(f"smoothing must be between -1 and 1, found {smoothing}")
        self.names = tuple(names) if names is not None else tuple(str(i) for i in range(len(optima)))
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names must differ, found {list(self.names)}")
        if len(self.names) != len(optima):
            raise ValueError(f"names must be one per protected task: found {len(self.names)} for {len(optima)} optima")
        self.rate = float(rate)
        self.violation = violation
        self.proportional = float(proportional)
        self.smoothing = float(smoothing)
        self.group = group
        self.register_buffer("multipliers", _per_task("initial", initial, optima))
        self.register_buffer("optima", optima)
        self.register_buffer("tolerance", _per_task("tolerance", tolerance, optima))
        self.register_buffer("skipped", torch.zeros((), dtype=torch.int64))
        if proportional:
            self.register_buffer("smoothed", torch.zeros_like(optima))
            self.register_buffer("started", torch.zeros_like(optima, dtype=torch.bool))

    @property
    def values(self) -> Tensor:
        """λ, shape ``(protected,)``, on the module's device; not a copy."""
        return self.multipliers

    def weights(self) -> Tensor:
        """Return the weights of the convex combination, shape ``(protected + 1,)``: λ_i/(1+Σλ) …, then 1/(1+Σλ)."""
        one = self.multipliers.new_ones(1)
        unscaled = torch.cat([self.multipliers, one])
        return unscaled / unscaled.sum()

    def combine(self, losses: Tensor | Sequence[Tensor], counts: Tensor | None = None) -> Tensor:
        r"""Return the scalar to call ``backward`` on: :math:`\sum_i w_i \ell_i`.

        Args:
            losses: Mean losses, shape ``(protected + objectives,)`` or a list of scalars; or, with ``counts``, this
                worker's *sums* of sample losses.
            counts: This worker's labelled samples of each task, same shape. The sums are then divided by the counts of
                *all* workers (one small all-reduce), and multiplied by the number of workers, because
                ``DistributedDataParallel`` averages gradients. The result is the gradient of the global objective,
                however unevenly labels are distributed. A task without labels in the global batch contributes 0.

        Returns:
            A scalar in the dtype of ``losses`` (at least single precision).
        """
        losses = _at_least_single(_as_vector(losses))
        if counts is not None:
            totals = self._all_reduce(counts.detach().to(self.multipliers.dtype, copy=True))
            losses = losses * (self._world_size() / totals.clamp(min=1)).to(losses.dtype)
        weights = self.weights().to(losses.dtype)
        protected, objective = self._split(losses)
        return weights[:-1] @ protected + weights[-1] * objective.sum()

    @torch.no_grad()
    def ascend(self, losses: Tensor | Sequence[Tensor], counts: Tensor | None = None, *, reduced: bool = False) -> None:
        r"""Ascend by one projected step: :math:`\lambda_i \leftarrow \max(0, \lambda_i + \eta_\lambda\, v_i)`.

        With ``proportional`` above 0, a step of the ν-PI rule.

        Args:
            losses: The losses that :meth:`combine` got, from before the step on θ. Only protected entries are used.
            counts: As in :meth:`combine`. Without counts the means of the workers are averaged, which gives the global
                mean only if every worker has the same number of labelled samples.
            reduced: Whether ``losses`` are already global means, and ``counts``, if given, global counts. Then nothing
                is all-reduced or divided.
        """
        protected = self._split(_as_vector(losses).detach())[0].to(self.multipliers.dtype)
        labelled: Tensor | None = None
        if counts is not None:
            labelled = counts.detach()[: len(self.optima)].to(self.multipliers.dtype)
            if not reduced:
                protected, labelled = self._all_reduce(torch.stack([protected, labelled]))
                protected = protected / labelled.clamp(min=1)
        elif not reduced:
            protected = self._all_reduce(protected.clone()) / self._world_size()
        violations = self.violations(protected)
        if labelled is not None:
            violations = torch.where(labelled > 0, violations, 0.0)
        self.ascend_by(violations)

    @torch.no_grad()
    def ascend_by(self, violations: Tensor, times: int = 1) -> None:
        """Ascend by given global violations (measured on another split, or paired), if all of them are finite.

        Args:
            violations: Signed, shape ``(protected,)``; 0 for a task without labels.
            times: Number of steps that the measurement stands for. The ascent, whose rate is per step, counts it that
                many times; the proportional term, which reacts to the violation itself, counts it once.
        """
        violations = violations.to(self.multipliers.dtype)
        finite = violations.isfinite().all()  # not asked by the host: it would wait for a GPU
        violations = torch.where(finite, violations, 0.0)  # 0 moves nothing, under either rule
        self.skipped += (~finite).to(self.skipped.dtype)
        self.multipliers.add_(violations * times, alpha=self.rate)
        if self.proportional:
            change, smoothed, started = proportional_step(
                violations, self.smoothed, self.started, self.proportional, self.smoothing
            )
            self.multipliers.add_(change)
            self.smoothed.copy_(smoothed)
            self.started.copy_(started)
        self.multipliers.clamp_(min=0.0)

    def violations(self, losses: Tensor) -> Tensor:
        r"""Return the signed violations :math:`\ell_i - L_i^* - \varepsilon_i` of global mean losses.

        They have shape ``(protected,)``, and are divided by :math:`|L_i^*|` if ``violation`` is ``"relative"``.
        """
        return self.paired_violations(losses[..., : len(self.optima)] - self.optima)

    def paired_violations(self, differences: Tensor) -> Tensor:
        r"""Return the signed violations from paired differences, shape ``(protected,)``.

        Args:
            differences: Means of :math:`\ell_i(\theta; x) - \ell_i(\theta_i^*; x)` over the same samples. They estimate
                :math:`\ell_i - L_i^*`, and the noise of the samples cancels.
        """
        excess = differences - self.tolerance
        if self.violation == "absolute":
            return excess
        return excess / torch.where(self.optima == 0, 1.0, self.optima.abs())

    def extra_repr(self) -> str:
        rule = f", proportional={self.proportional}, smoothing={self.smoothing}" if self.proportional else ""
        return f"names={list(self.names)}, rate={self.rate}, violation={self.violation}{rule}"

    def get_extra_state(self) -> dict[str, Any]:
        return {"names": list(self.names)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Do nothing: :meth:`_load_from_state_dict` has compared the names."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        saved = state_dict.get(f"{prefix}_extra_state", {}).get("names", list(self.names))
        if tuple(saved) != self.names:
            raise ValueError(
                f"the saved multipliers belong to the tasks {saved}, this module protects {list(self.names)}; "
                "load the state into multipliers of the same tasks in the same order"
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _split(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        count = len(self.optima)
        if losses.dim() != 1 or losses.shape[0] <= count:
            raise ValueError(
                f"losses must be a vector of {count} protected losses and at least one objective, "
                f"found shape {tuple(losses.shape)}"
            )
        return losses[:count], losses[count:]

    def _world_size(self) -> int:
        return dist.get_world_size(self.group) if dist.is_available() and dist.is_initialized() else 1

    def _all_reduce(self, tensor: Tensor) -> Tensor:
        if self._world_size() > 1:
            dist.all_reduce(tensor, group=self.group)
        return tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Multipliers:
        # A parent's .half() or .to(torch.bfloat16) must not round λ: apply the change of device, keep the dtype.
        device = fn(torch.empty(0, dtype=torch.int64, device=self.multipliers.device)).device
        for name, buffer in self._buffers.items():
            self._buffers[name] = buffer.to(device) if buffer is not None else None
        return self


def _per_task(name: str, value: float | Sequence[float] | Tensor, optima: Tensor) -> Tensor:
    values = torch.as_tensor(value, dtype=optima.dtype).detach()
    if values.dim() > 1 or (values.dim() == 1 and values.shape != optima.shape):
        raise ValueError(f"{name} must be one number, or one per protected task ({len(optima)}), found {value}")
    if not bool(((values >= 0) & values.isfinite()).all()):
        raise ValueError(f"{name} must be finite and at least 0, found {value}")
    return values.expand_as(optima).clone()


def _as_vector(losses: Tensor | Sequence[Tensor]) -> Tensor:
    """Return losses as one tensor; a list may hold scalars, or tensors of one value."""
    if isinstance(losses, Tensor):
        return losses
    if wrong := [tuple(loss.shape) for loss in losses if loss.numel() != 1]:
        raise ValueError(f"losses must be scalars, found tensors of shape {wrong[0]}; give the mean of each task")
    return torch.stack([loss.reshape(()) for loss in losses])


def _at_least_single(losses: Tensor) -> Tensor:
    """Convert half-precision losses (from autocast) to single precision."""
    return losses.float() if losses.dtype in (torch.float16, torch.bfloat16) else losses
