r"""Conflict: synthetic binary tasks whose gradients conflict by a known amount.

For scaling runs: any number m of tasks, all equally hard, and nothing to download. Features are
:math:`x \sim N(0, I_d)`, and the label of task i depends on one direction,

.. math:: y_i \sim \mathrm{Bernoulli}\bigl(\sigma(s\, \langle a_i, x \rangle)\bigr), \qquad
    \lVert a_i \rVert = 1, \qquad \langle a_i, a_j \rangle = -c \quad (i \ne j),

where s = :data:`SCALE` and c is the option ``conflict``. The directions are :math:`a_i = \sum_{j \le i} L_{ij} q_j`.
The q are random orthonormal vectors, and L is the Cholesky factor of the Gram matrix :math:`G = (1 + c) I - c\, 1
1^\top`. The eigenvalues of G are 1 + c (m − 1 times) and 1 − (m − 1) c, so c is at most 1 / (m − 1). Each label is 1
with probability 1/2. The leading rows of L do not depend on m: with the other options equal, the first four of eight
tasks *are* the four tasks of ``tasks: 4``, label for label.

**How much the tasks conflict.** At logits of 0, the gradient of task i's logistic loss with respect to a shared linear
score is :math:`-\kappa a_i` with :math:`\kappa = E[(\sigma(s t) - 1/2)\, t] > 0`, :math:`t \sim N(0, 1)`. So the
gradients of two tasks have the cosine −c: one score for all tasks (model ``scorer``) cannot improve one of them without
harming the others.

**Why priority matters even with one tower per task.** A tower can flip a direction, but it only sees what the
bottleneck passes on. A linear bottleneck of width k passes a subspace of k dimensions with projection P. It keeps the
share :math:`\lVert P a_i \rVert^2` of the variance of task i's signal, and

.. math:: \frac1m \sum_i \lVert P a_i \rVert^2 \le \frac{k (1 + c)}{m} \qquad (k < m),

which is the sum of the k largest eigenvalues of G, divided by m. It is below 1 if k is less than the rank of G (m, or
m − 1 at the bound of c), so not all tasks can be served. Equal weights spread the capacity over all tasks. With
priorities the first k tasks get all of it, and a later task keeps the part of its direction that lies in their span,
the share :math:`k c^2 / (1 - (k - 1) c)`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nmt.experiments.data import table
from nmt.experiments.data.common.cache import prepare_once
from nmt.experiments.data.common.options import is_whole_number
from nmt.experiments.data.table.raw_table import MemoryTable
from nmt.experiments.data.table.roles import Roles

RECIPE = 1
"""Version of this preparation, part of the cache key: raise it when the examples change."""

SCALE = 4.0
"""s, standard deviation of the true logits; a model that knows them has an AUC of 0.95."""

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def prepare(
    path: str | None,
    cache: Path,
    *,
    tasks: int = 8,
    examples: int = 8000,
    features: int = 32,
    conflict: float = 0.125,
    seed: int = 0,
) -> Path:
    """Draw examples of conflicting tasks.

    Args:
        path: Must be ``None``; there is no file.
        cache: Folder of prepared folders. The same options are prepared once.
        tasks: m, number of tasks.
        examples: Rows in all, of which 80 % train, 10 % valid and 10 % test.
        features: d, number of features, at least m.
        conflict: c, from 0 (orthogonal directions) to 1 / (m − 1): the directions of two tasks have the cosine −c.
        seed: Seed of the directions, the features and the labels.

    Returns:
        The prepared folder: numeric columns ``x_1 … x_d``, binary labels ``task_1 … task_m``, without leading zeros, so
        that a task's name does not depend on m.

    Raises:
        ValueError: ``path`` is given, or an option is out of range.
    """
    if path is not None:
        raise ValueError(f"data.path is {path!r}; these data are synthetic, set data.path to null")
    _check(tasks, examples, features, conflict, seed)
    options = {"tasks": tasks, "examples": examples, "features": features, "conflict": float(conflict), "seed": seed}

    def build(folder: Path) -> None:
        drawn = draw(tasks, examples, features, conflict, seed)
        roles = Roles(
            numeric=[f"x_{j + 1}" for j in range(features)],
            labels={f"task_{i + 1}": 2 for i in range(tasks)},
        )
        table.build(MemoryTable(drawn), roles, folder, source=f"{tasks} tasks of conflict {conflict:g}, seed {seed}")

    return prepare_once(cache, "conflict", {"recipe": (RECIPE, table.RECIPE), **options}, build)


def draw(tasks: int, examples: int, features: int, conflict: float, seed: int) -> pa.Table:
    """Draw the examples of all splits, one row each.

    Returns:
        ``split``, the features and the labels.
    """
    _, feature_stream, label_stream = _streams(seed)
    x = feature_stream.standard_normal((examples, features))
    columns: dict[str, npt.NDArray[np.generic]] = {"split": np.repeat(list(SHARES), _sizes(examples))}
    columns |= {f"x_{j + 1}": x[:, j] for j in range(features)}
    for i, direction in enumerate(directions(tasks, features, conflict, seed)):
        # Task by task, so that a task's labels do not depend on the number of tasks.
        probability = 1 / (1 + np.exp(-SCALE * (x @ direction)))
        columns[f"task_{i + 1}"] = (label_stream.random(examples) < probability).astype(np.int8)
    return pa.table(columns)


def directions(tasks: int, features: int, conflict: float, seed: int) -> npt.NDArray[np.float64]:
    """Return the directions a_i as rows, shape ``(tasks, features)``: unit vectors with pairwise cosine −c."""
    direction_stream, _, _ = _streams(seed)
    gaussian = direction_stream.standard_normal((features, features))
    orthonormal = np.linalg.qr(gaussian).Q
    rows: npt.NDArray[np.float64] = _cholesky(tasks, conflict) @ orthonormal[:, :tasks].T
    return rows


def _cholesky(tasks: int, conflict: float) -> npt.NDArray[np.float64]:
    r"""Return L with :math:`L L^\top = (1 + c) I - c\, 1 1^\top`, also in the singular case c = 1 / (m − 1).

    The entries of a column below the diagonal are equal:
    :math:`L_{jj}^2 = 1 - \sum_{l<j} L_{jl}^2` and :math:`L_{ij} = (-c - \sum_{l<j} L_{jl}^2) / L_{jj}`.
    """
    factor = np.zeros((tasks, tasks))
    squares = 0.0  # sum over the entries left of column j, the same in each row from j on
    for j in range(tasks):
        # At the bound the last entry is 0 up to rounding; the square root would make the error visible.
        left = 1 - squares
        factor[j, j] = math.sqrt(left) if left > 1e-12 else 0.0
        if j + 1 < tasks:
            below = (-conflict - squares) / factor[j, j]
            factor[j + 1 :, j] = below
            squares += below**2
    return factor


def _streams(seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Return independent generators of directions, features and labels."""
    directions, features, labels = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    return directions, features, labels


def _sizes(examples: int) -> list[int]:
    valid, test = (int(examples * SHARES[split]) for split in ("valid", "test"))
    return [examples - valid - test, valid, test]


def _check(tasks: int, examples: int, features: int, conflict: float, seed: int) -> None:
    for name, value, least in (("tasks", tasks, 1), ("examples", examples, 100), ("seed", seed, 0)):
        if not is_whole_number(value, least):
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    if not is_whole_number(features, tasks):
        raise ValueError(
            f"features is {features!r} for {tasks} tasks; give a whole number of at least {tasks}, or fewer tasks"
        )
    bound = 1 / (tasks - 1) if tasks > 1 else 1.0
    number = isinstance(conflict, int | float) and not isinstance(conflict, bool)
    if not number or not 0 <= conflict <= bound + 1e-12:
        raise ValueError(
            f"conflict is {conflict!r} for {tasks} tasks; allowed are 0 (orthogonal directions) to {bound:.6g}. "
            "Lower conflict, or the number of tasks"
        )
