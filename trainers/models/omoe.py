"""OMoE: experts and one gate for all tasks (Ma et al. 2018)."""

from __future__ import annotations

from nmt.trainers.models.mixture_of_experts import MixtureOfExperts


class OMoE(MixtureOfExperts):
    r"""One-gate mixture-of-experts (Ma et al. 2018, equation 5): MMoE with one gate for all tasks.

    The logit of task t at features x is :math:`s_t(x) = \mathrm{tower}_t(\sum_e w_e(x)\, h_e(x))`, with experts h_e
    (multilayer perceptrons with ReLU) and the weights w(x) of one softmax gate.
    """

    one_gate = True
