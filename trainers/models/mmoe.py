"""MMoE: experts for all tasks, one gate per task (Ma et al. 2018)."""

from __future__ import annotations

from nmt.trainers.models.mixture_of_experts import MixtureOfExperts


class MMoE(MixtureOfExperts):
    r"""Multi-gate mixture-of-experts (Ma et al. 2018, equations 6 to 8).

    The logit of task t at features x is :math:`s_t(x) = \mathrm{tower}_t(\sum_e w_{te}(x)\, h_e(x))`, with experts
    h_e (multilayer perceptrons with ReLU) and the weights :math:`w_t(x)` of the task's own softmax gate. With a single
    expert the model is Shared-Bottom.
    """

    one_gate = False
