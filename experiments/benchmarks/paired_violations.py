"""Noise of violations, plain against paired, and its effect on λ: KuaiRand, with like held at its optimum.

::

    python -m experiments.benchmarks.paired_violations PATH/kuairand.parquet

Trains like, then finish under like, from the optimum of like as the paper does (memoised in ``--storage``). At θ*, the
optimum of like, and at points along the next stage it draws random minibatches of the training split. On each it
measures the violation of like in two ways: *plain*, the minibatch's loss minus L*, and *paired*, the mean difference to
the same examples' losses at θ*. Then it lets λ ascend by either, with θ frozen where the constraint is slack, so that
the right λ is 0.

Prints two Markdown tables, and draws a figure.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from nmt import Multipliers
from nmt.experiments.benchmarks.harness.markdown import markdown_table
from nmt.experiments.data.kuairand import prepare
from nmt.orchestrator.figures.style import (
    GREY,
    INK,
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    blank_figure,
    set_title,
    spread,
    style_axes,
)
from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.evaluation.evaluation import evaluate
from nmt.trainers.evaluation.learner import Learner
from nmt.trainers.losses.task_losses import TaskLosses
from nmt.trainers.models.build import build_model
from nmt.trainers.records import StageRecord
from nmt.trainers.reporter import NullReporter
from nmt.trainers.spec.chain_spec import ChainSpec, ModelSpec
from nmt.trainers.spec.execution import Execution
from nmt.trainers.spec.settings import Settings
from nmt.trainers.spec.task import Task
from nmt.trainers.stage.chain import run_chain
from nmt.trainers.store.stage_store import StageStore

LIKE = Task("like", "binary_cross_entropy", label="is_like")
FINISH = Task("finish", "binary_cross_entropy", label="finish")
MODEL = ModelSpec("shared_bottom", {"embedding_dim": 8, "bottom_units": [128, 64], "tower_units": [32]})
BATCH = 4096

SIZES = (8, 64, 512, 4096)
"""Examples of a minibatch."""

STEPS = (1, 10, 100)
"""Steps of the next stage, from θ*, after which violations are measured."""

NEXT = "θ* of the next stage"

SLACKS = (0.002, 0.005, 0.01)
"""Slacks of the constraint under which λ is simulated, in units of the loss."""

MIN_DRAWS = 4000
"""Smallest number of minibatches of one size at one point."""

TASKS = (LIKE, FINISH)

PLAIN, PAIRED = PALETTE[1], (PALETTE[0], PALETTE[2], PALETTE[3], PALETTE[6])


@dataclass(frozen=True)
class Spread:
    """Violations of random minibatches at one point.

    Attributes:
        point: Name of the point θ.
        size: Examples of a minibatch.
        violation: L(θ) − L* over the whole split.
        plain: ℓ(θ) − L* on each minibatch, shape ``(draws,)``.
        paired: The mean of ℓ(θ; x) − ℓ(θ*; x) over the same minibatches.
    """

    point: str
    size: int
    violation: float
    plain: Tensor
    paired: Tensor

    @property
    def ratio(self) -> float:
        """Plain variance over paired variance."""
        return float(self.plain.var() / self.paired.var())

    def z_score(self, draws: Tensor) -> float:
        """Return the distance of the mean of ``draws`` from the violation, in standard errors."""
        return (float(draws.mean()) - self.violation) / float(draws.std()) * math.sqrt(len(draws))


@dataclass(frozen=True)
class Drift:
    """λ under a slack constraint with noisy violations.

    Attributes:
        slack: δ; the violation is −δ on average.
        rate: η_λ.
        noise: σ, standard deviation of a step's violation.
        trace: λ after each step, shape ``(steps, runs)``.
    """

    slack: float
    rate: float
    noise: float
    trace: Tensor

    @property
    def mean(self) -> float:
        """Mean λ over all steps and runs; without noise it is 0."""
        return float(self.trace.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean, from its spread over runs."""
        return float(self.trace.mean(0).std()) / math.sqrt(self.trace.shape[1])

    @property
    def theory(self) -> float:
        """η σ² / 2δ, the mean of a Brownian motion with drift −ηδ and deviation ησ per step, reflected at 0."""
        return self.rate * self.noise**2 / (2 * self.slack)


def draw_violations(point: str, losses: Tensor, reference: Tensor, size: int, draws: int, seed: int = 0) -> Spread:
    """Draw independent random minibatches, and measure the plain and the paired violation on each.

    Args:
        point: Name of the point θ.
        losses: ℓ(θ; x) of each training example, shape ``(examples,)``.
        reference: ℓ(θ*; x), whose mean is L*.
        size: Examples of a minibatch, drawn with replacement.
        draws: Number of minibatches.
        seed: Seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    losses, reference = losses.double(), reference.double()
    changes, optimum = losses - reference, reference.mean()
    plain, paired = [], []
    for part in torch.arange(draws).split(max(1, 2**22 // size)):
        index = torch.randint(len(losses), (len(part), size), generator=generator)
        plain.append(losses[index].mean(1) - optimum)
        paired.append(changes[index].mean(1))
    return Spread(point, size, float(losses.mean() - optimum), torch.cat(plain), torch.cat(paired))


def simulate_drift(noise: Tensor, slack: float, rate: float, runs: int) -> Drift:
    """Let λ ascend from 0 by violations that are −``slack`` on average.

    Args:
        noise: Measured violations, shape ``(draws,)``; their mean is subtracted.
        slack: δ.
        rate: η_λ.
        runs: Number of independent runs, among which the draws are divided.
    """
    violations = (noise - noise.mean() - slack).reshape(-1, runs)
    sums = (rate * violations).cumsum(0)
    trace = sums - sums.cummin(0).values.clamp(max=0.0)  # the closed form of λ ← max(0, λ + η v)
    return Drift(slack, rate, float(violations.std()), trace)


def variance_table(spreads: Sequence[Spread]) -> str:
    """Format the errors of the means and the noise, one row per point and minibatch size."""
    head = (
        "θ",
        "L(θ) − L*",
        "B",
        "plain: mean off by",
        "paired: off by",
        "plain: sd",
        "paired: sd",
        "ratio of variances",
    )
    lines = []
    for one in spreads:
        errors = (f"{one.z_score(draws):+.1f} SE" for draws in (one.plain, one.paired))
        deviations = (f"{float(draws.std()):.5f}" for draws in (one.plain, one.paired))
        lines.append((one.point, f"{one.violation:+.5f}", one.size, *errors, *deviations, f"{one.ratio:.0f}"))
    return markdown_table(head, lines)


def drift_table(drifts: Sequence[tuple[Drift, Drift]]) -> str:
    """Format mean λ under plain and paired violations, beside the theory of the reflected Brownian motion."""
    lines = []
    for pair in drifts:
        numbers = [text for one in pair for text in (f"{one.mean:.3g} ± {one.error:.1g}", f"{one.theory:.3g}")]
        lines.append((f"{pair[0].slack:g}", *numbers, 0))
    return markdown_table(("slack δ", "plain: mean λ", "ησ²/2δ", "paired: mean λ", "ησ²/2δ", "ideal"), lines)


def draw_figure(spreads: Sequence[Spread], drifts: Sequence[tuple[Drift, Drift]]) -> Figure:
    """Draw standard deviations by minibatch size, and λ under a slack constraint."""
    figure = blank_figure(10.5, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=[5.6, 4.9])
    _draw_deviations(left, spreads)
    noisy, calm = drifts[len(drifts) // 2]
    for one, name, colour in ((noisy, "plain", PLAIN), (calm, "paired", PALETTE[0])):
        label = f"{name}: mean {one.mean:.4f}"
        right.plot(range(1, len(one.trace) + 1), one.trace[:, 0], color=colour, linewidth=0.8, label=label)
    right.axhline(0, color=INK, linewidth=1, linestyle="--", label="without noise: 0")
    right.set_xlabel("steps", fontsize=TEXT_SIZE, color=GREY)
    right.set_ylabel("λ", fontsize=TEXT_SIZE, color=GREY, rotation=0)
    right.legend(loc="upper right", fontsize=SMALL_SIZE + 0.5, frameon=False, labelcolor=GREY)
    right.set_ylim(top=1.4 * float(noisy.trace[:, 0].max()))
    set_title(right, f"noise alone holds λ up (slack {noisy.slack:g})", 4.6, TEXT_SIZE + 1)
    style_axes(right)
    return figure


def _draw_deviations(axes: Axes, spreads: Sequence[Spread]) -> None:
    """Draw a line per point for paired violations, and one band for the plain violations of all points."""
    points = {one.point: [other for other in spreads if other.point == one.point] for one in spreads}
    sizes = [one.size for one in next(iter(points.values()))]
    plain = [[float(one.plain.std()) for one in some] for some in points.values()]
    lowest, highest = ([pick(column) for column in zip(*plain, strict=True)] for pick in (min, max))
    axes.fill_between(sizes, lowest, highest, color=PLAIN, alpha=0.5, linewidth=0)
    labels = [("plain, at all points", PLAIN, (lowest[-1] * highest[-1]) ** 0.5)]
    for (point, some), colour in zip(points.items(), PAIRED, strict=False):
        heights = [float(one.paired.std()) for one in some]
        axes.plot(sizes, heights, "o-", color=colour, markersize=4, linewidth=1.3)
        labels.append((f"paired, {point}: variance ÷ {some[-1].ratio:.0f}", colour, heights[-1]))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.minorticks_off()
    axes.set_xlim(sizes[0] * 0.8, sizes[-1] * 400)  # room for the labels
    heights = spread([math.log10(height) for _, _, height in labels], 0.13)
    for (text, colour, _), height in zip(labels, heights, strict=True):
        axes.annotate(text, (sizes[-1] * 1.3, 10**height), va="center", fontsize=SMALL_SIZE, color=colour)
    axes.set_xlabel("examples of a minibatch", fontsize=TEXT_SIZE, color=GREY, loc="left")
    axes.set_ylabel("standard deviation of the violation (nats)", fontsize=TEXT_SIZE, color=GREY)
    set_title(axes, "the nearer to θ*, the more noise pairing removes", 5.0, TEXT_SIZE + 1)
    style_axes(axes)


def train_chain(settings: Settings, folder: str, storage: str) -> tuple[StageRecord, ...]:
    """Train like, then finish under like, in this process."""
    feed = MemoryFeed(folder, [LIKE.label, FINISH.label], BATCH, settings.seed)
    execution = Execution(evaluations_per_epoch=6)
    spec = ChainSpec(((LIKE,), (FINISH,)), MODEL, settings, BATCH, feed.schema.fingerprint, execution=execution)
    model = build_model(MODEL, feed.schema, spec.tasks, settings.seed)
    return run_chain(spec, model, feed, StageStore(storage), NullReporter())


def descend(model: nn.Module, feed: MemoryFeed, optimum: float, steps: int, settings: Settings) -> None:
    """Take the first steps of the next stage from the model's present parameters: minimise finish, hold like."""
    losses = TaskLosses(TASKS)
    multipliers = Multipliers([optimum], settings.eta_lambda, violation="relative" if settings.relative else "absolute")
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.eta_theta)
    model.train()
    for step in range(steps):
        epoch, start = divmod(step, feed.steps_per_epoch())
        batch = next(feed.epoch(1, epoch, start=start))
        samples = losses(model(batch), batch, TASKS)
        means = samples.sums.sum(0) / samples.counts.sum(0).clamp(min=1)
        optimizer.zero_grad()
        multipliers.combine(means).backward()
        optimizer.step()
        multipliers.ascend(means)


def example_losses(model: nn.Module, feed: MemoryFeed) -> Tensor:
    """Return the loss of like of each training example, shape ``(examples,)``; each has the label."""
    found = evaluate(Learner(model, feed, TaskLosses(TASKS)), "train", mode="train", with_metrics=False)
    samples = found.local_of(LIKE.name)
    assert bool((samples.counts == 1).all())
    return samples.sums


def measure(path: str, storage: str, settings: Settings, samples: int) -> list[Spread]:
    """Train, step away from θ*, and draw minibatches at each point.

    Args:
        path: The log.
        storage: Where stages are kept.
        settings: Settings options.
        samples: Examples of all minibatches of one size at one point.

    Raises:
        ValueError: The next stage gained nothing.
    """
    cache = Path(storage) / "data"
    cache.mkdir(parents=True, exist_ok=True)
    folder = str(prepare(path, cache))
    first, second = train_chain(settings, folder, storage)
    if not second.gained:
        raise ValueError(
            "the next stage gained nothing, so that paired violations are 0 at its end; try another --seed"
        )
    feed = MemoryFeed(folder, [task.label for task in TASKS], BATCH, settings.seed)
    model = build_model(MODEL, feed.schema, TASKS, settings.seed)
    store = StageStore(storage)
    reference = store.references(first.key).sums["train"][LIKE.name]
    points: dict[str, Tensor] = {}
    for steps in STEPS:
        model.load_state_dict(store.state(first.key))
        descend(model, feed, first.optima[0].train, steps, settings)
        points[f"{steps} step{'s' * (steps > 1)} from θ*"] = example_losses(model, feed)
    model.load_state_dict(store.state(second.key))
    points[NEXT] = example_losses(model, feed)
    return [
        draw_violations(point, losses, reference, size, max(MIN_DRAWS, samples // size), settings.seed + size)
        for point, losses in points.items()
        for size in SIZES
    ]


def simulate_drifts(spreads: Sequence[Spread], rate: float, runs: int) -> list[tuple[Drift, Drift]]:
    """Simulate λ under the smallest minibatches at the end of the next stage, plain and paired, for each slack."""
    (one,) = (one for one in spreads if one.point == NEXT and one.size == SIZES[0])
    return [
        (simulate_drift(one.plain, slack, rate, runs), simulate_drift(one.paired, slack, rate, runs))
        for slack in SLACKS
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="kuairand.parquet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage", default="nmt-runs/paired-violations")
    parser.add_argument("--steps", type=int, default=20_000, help="steps of λ under a slack constraint")
    parser.add_argument("--runs", type=int, default=16, help="independent runs of these steps")
    parser.add_argument("--rate", type=float, default=0.1, help="η_λ of these steps")
    parser.add_argument("--picture", help="file of the figure", default="experiments/pictures/paired_violations.png")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    # The paper's start: the points along the next stage are to lie on the way from the optimum of like alone.
    settings = Settings(joint_weight=0.0, later_weight=0.0, eta_lambda=10.0, seed=given.seed)
    spreads = measure(given.path, str(Path(given.storage).absolute()), settings, given.steps * given.runs * SIZES[0])
    drifts = simulate_drifts(spreads, given.rate, given.runs)
    print(f"{variance_table(spreads)}\n\n{drift_table(drifts)}")
    draw_figure(spreads, drifts).savefig(given.picture)


if __name__ == "__main__":
    main()
