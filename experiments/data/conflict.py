r"""Conflict: made-up binary tasks that pull one representation apart, by a known amount; nothing to fetch.

For scaling runs: any number of tasks m, each as hard as the others. Features are :math:`x \sim N(0, I_d)`, and task i
asks for one direction of them,

.. math:: y_i \sim \mathrm{Bernoulli}\bigl(\sigma(s\, \langle a_i, x \rangle)\bigr), \qquad
    \lVert a_i \rVert = 1, \qquad \langle a_i, a_j \rangle = -c \quad (i \ne j),

with s = :data:`SCALE` and c the option ``conflict``. The directions are :math:`a_i = \sum_{j \le i} L_{ij} q_j`: the q
are orthonormal, drawn at random, and L is the Cholesky factor of the Gram matrix :math:`G = (1 + c) I - c\, 1 1^\top`.
G has the eigenvalues 1 + c, m − 1 times, and 1 − (m − 1) c, so c is at most 1 / (m − 1): more directions cannot all
point away from each other. Every label is 1 half of the time. The leading rows of L do not depend on m, so the first
four tasks of eight *are* the tasks of ``tasks: 4``, label for label, where the other options are the same.

**How much they conflict.** Where a model does not know anything yet, at logits of 0, the gradient of task i's logistic
loss with regard to a shared linear score is :math:`-\kappa a_i` with :math:`\kappa = E[(\sigma(s t) - 1/2)\, t] > 0`,
:math:`t \sim N(0, 1)`: the gradients of two tasks have the cosine −c. One score for all tasks (model ``scorer``) cannot
follow one of them without moving against the others.

**Why priority matters with a tower each.** A tower may turn a direction round, but it reads what the bottleneck lets
through. A linear bottleneck of width k lets a subspace of k dimensions through, with the projection P; of task i it
serves the share :math:`\lVert P a_i \rVert^2` of the signal's variance, and

.. math:: \frac1m \sum_i \lVert P a_i \rVert^2 \le \frac{k (1 + c)}{m} \qquad (k < m),

the k largest eigenvalues of G over m. That is less than 1 where k is less than the dimensions that the directions span
(m, or m − 1 where c is at its bound): not all tasks can be served. Equal weights spread what there is; by priority the
first k tasks have all of it, and to a later one is left the part of its direction that lies in theirs, the share
:math:`k c^2 / (1 - (k - 1) c)`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from experiments.data import table
from experiments.data.prepared.cache import cached
from experiments.data.table.roles import Roles
from experiments.data.table.rows import Memory

RECIPE = 1
"""Version of how examples are drawn; part of the cache key."""

SCALE = 4.0
"""s, standard deviation of the logits that labels are drawn from; knowing them gives an AUC of 0.95."""

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
    """Draw examples of tasks in conflict.

    Args:
        path: Must be ``None``; there is no file.
        cache: Where the prepared folder goes. The same options are prepared once.
        tasks: m, number of tasks.
        examples: Rows of all splits together: 80 % train, 10 % valid, 10 % test.
        features: d, number of features, at least m.
        conflict: c, 0 (directions at right angles) to 1 / (m − 1): two tasks' directions have the cosine −c.
        seed: Seed of the directions, the features and the labels.

    Returns:
        The prepared folder: numeric columns ``x_1 … x_d``, binary labels ``task_1 … task_m``. Numbers in names have no
        leading zeros, so that a task has one name whatever m is.

    Raises:
        ValueError: ``path`` is given, or an option is out of range.
    """
    if path is not None:
        raise ValueError(f"data.path is {path!r}; these data are drawn, set data.path to null")
    _check(tasks, examples, features, conflict, seed)
    options = {"tasks": tasks, "examples": examples, "features": features, "conflict": float(conflict), "seed": seed}
    target = cached(cache, "conflict", {"recipe": (RECIPE, table.RECIPE), **options})
    if not (target / "schema.json").exists():
        drawn = draw(tasks, examples, features, conflict, seed)
        roles = Roles(
            numeric=[f"x_{j + 1}" for j in range(features)],
            labels={f"task_{i + 1}": 2 for i in range(tasks)},
        )
        table.build(Memory(drawn), roles, target, source=f"{tasks} tasks of conflict {conflict:g}, seed {seed}")
    return target


def draw(tasks: int, examples: int, features: int, conflict: float, seed: int) -> pa.Table:
    """Examples of all splits, one row each.

    Returns:
        ``split``, the features and the labels.
    """
    _, of_features, of_labels = _streams(seed)
    x = of_features.standard_normal((examples, features))
    columns: dict[str, npt.NDArray[np.generic]] = {"split": np.repeat(list(SHARES), _sizes(examples))}
    columns |= {f"x_{j + 1}": x[:, j] for j in range(features)}
    for i, direction in enumerate(directions(tasks, features, conflict, seed)):
        # Task by task: the labels of a task do not depend on how many come after it.
        chance = 1 / (1 + np.exp(-SCALE * (x @ direction)))
        columns[f"task_{i + 1}"] = (of_labels.random(examples) < chance).astype(np.int8)
    return pa.table(columns)


def directions(tasks: int, features: int, conflict: float, seed: int) -> npt.NDArray[np.float64]:
    """The tasks' directions a_i as rows, shape ``(tasks, features)``: unit vectors, each two with the cosine −c."""
    of_directions, _, _ = _streams(seed)
    gaussian = of_directions.standard_normal((features, features))
    orthonormal = np.linalg.qr(gaussian).Q
    rows: npt.NDArray[np.float64] = _cholesky(tasks, conflict) @ orthonormal[:, :tasks].T
    return rows


def _cholesky(tasks: int, conflict: float) -> npt.NDArray[np.float64]:
    r"""L with :math:`L L^\top = (1 + c) I - c\, 1 1^\top`, also where that is singular, c = 1 / (m − 1).

    All entries of a column below the diagonal are equal:
    :math:`L_{jj}^2 = 1 - \sum_{l<j} L_{jl}^2` and :math:`L_{ij} = (-c - \sum_{l<j} L_{jl}^2) / L_{jj}`.
    """
    factor = np.zeros((tasks, tasks))
    squares = 0.0  # of the entries left of column j, the same in every row from j on
    for j in range(tasks):
        # At the bound the last one is 0 up to rounding, and a root of it would be a visible direction.
        left = 1 - squares
        factor[j, j] = math.sqrt(left) if left > 1e-12 else 0.0
        if j + 1 < tasks:
            below = (-conflict - squares) / factor[j, j]
            factor[j + 1 :, j] = below
            squares += below**2
    return factor


def _streams(seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Generators of directions, features and labels: none depends on how much another one drew."""
    directions, features, labels = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    return directions, features, labels


def _sizes(examples: int) -> list[int]:
    valid, test = (int(examples * SHARES[split]) for split in ("valid", "test"))
    return [examples - valid - test, valid, test]


def _check(tasks: int, examples: int, features: int, conflict: float, seed: int) -> None:
    for name, value, least in (("tasks", tasks, 1), ("examples", examples, 100), ("seed", seed, 0)):
        if not _whole(value) or value < least:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    if not _whole(features) or features < tasks:
        raise ValueError(
            f"features is {features!r} for {tasks} tasks; give a whole number of at least {tasks}, one for each "
            "direction, or fewer tasks"
        )
    most = 1 / (tasks - 1) if tasks > 1 else 1.0
    number = isinstance(conflict, int | float) and not isinstance(conflict, bool)
    if not number or not 0 <= conflict <= most + 1e-12:
        raise ValueError(
            f"conflict is {conflict!r} for {tasks} tasks; allowed are 0 (right angles) to {most:.6g}: so many "
            "directions cannot all point further away from each other. Lower conflict, or tasks"
        )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
