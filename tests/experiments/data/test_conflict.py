"""Conflicting tasks: the data against the closed forms in the docstring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from nmt.experiments.data import conflict
from nmt.trainers.data.prepared import read_schema

Matrix = npt.NDArray[np.float64]

FAMILIES = [(1, 0.0), (2, 1.0), (4, 0.125), (8, 0.0), (8, 0.125), (8, 1 / 7), (30, 1 / 29)]


def drawn(tasks: int, examples: int, c: float = 0.125, seed: int = 0) -> tuple[Matrix, Matrix]:
    """Draw features, shape (examples, 32), and labels, shape (examples, tasks)."""
    table = conflict.draw(tasks, examples, 32, c, seed)
    x = np.stack([table[f"x_{j + 1}"].to_numpy() for j in range(32)], 1)
    return x, np.stack([table[f"task_{i + 1}"].to_numpy() for i in range(tasks)], 1).astype(np.float64)


def shares(a: Matrix, basis: Matrix) -> Matrix:
    """Return ‖P a_i‖² for each row of ``a``, where P projects onto the rows of ``basis``."""
    orthonormal = np.linalg.qr(basis.T).Q
    return np.asarray(((a @ orthonormal) ** 2).sum(1))


@pytest.mark.parametrize(("tasks", "c"), FAMILIES)
def test_every_two_directions_have_the_cosine_that_was_asked_for(tasks: int, c: float) -> None:
    a = conflict.directions(tasks, 32, c, seed=3)
    gram = (1 + c) * np.eye(tasks) - c
    np.testing.assert_allclose(a @ a.T, gram, atol=1e-13)


def test_at_the_bound_the_directions_span_one_dimension_less() -> None:
    assert np.linalg.matrix_rank(conflict.directions(8, 32, 1 / 7, 0)) == 7
    assert np.linalg.matrix_rank(conflict.directions(8, 32, 0.125, 0)) == 8
    np.testing.assert_allclose(conflict.directions(8, 32, 1 / 7, 0).sum(0), 0, atol=1e-13)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_what_a_bottleneck_can_serve(k: int) -> None:
    c = 0.125
    a = conflict.directions(8, 32, c, 0)
    _, _, right = np.linalg.svd(a)
    assert shares(a, right[:k]).mean() == pytest.approx(k * (1 + c) / 8)  # the best subspace reaches the bound …
    other = np.random.default_rng(0).standard_normal((k, 32))
    assert shares(a, other).mean() < k * (1 + c) / 8  # … and another does not
    by_priority = shares(a, a[:k])
    np.testing.assert_allclose(by_priority[:k], 1)
    np.testing.assert_allclose(by_priority[k:], k * c**2 / (1 - (k - 1) * c))


def test_gradients_of_two_tasks_have_the_cosine_minus_c() -> None:
    x, y = drawn(4, 200_000, c=0.3)
    gradients = -((y - 0.5).T @ x) / len(x)  # of the mean logistic loss with respect to a linear score, at 0
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    # The standard error of each of a gradient's 32 entries is 0.5 / √200,000 ≈ 0.0011; its length is about 0.37.
    np.testing.assert_allclose(unit @ unit.T, 1.3 * np.eye(4) - 0.3, atol=0.02)
    np.testing.assert_allclose(unit, -conflict.directions(4, 32, 0.3, 0), atol=0.02)


def test_labels_are_as_likely_as_the_formula_says() -> None:
    x, y = drawn(8, 100_000)
    np.testing.assert_allclose(y.mean(0), 0.5, atol=5 * 0.5 / np.sqrt(len(x)))
    logits = conflict.SCALE * x @ conflict.directions(8, 32, 0.125, 0).T
    for low, high in [(-3, -2), (-1, 0), (1, 2), (4, 5)]:
        among = (low <= logits) & (logits < high)
        chance = (1 / (1 + np.exp(-logits)))[among]
        error = np.sqrt((chance * (1 - chance)).sum()) / among.sum()
        assert abs(y[among].mean() - chance.mean()) < 4 * error


def test_the_first_tasks_are_those_of_a_shorter_family(tmp_path: Path) -> None:
    four = conflict.prepare(None, tmp_path, tasks=4, examples=500)
    eight = conflict.prepare(None, tmp_path, tasks=8, examples=500)
    for split in ("train", "valid", "test"):
        few, many = pq.read_table(four / split), pq.read_table(eight / split)
        assert few.equals(many.select(few.column_names))


def test_prepared(tmp_path: Path) -> None:
    folder = conflict.prepare(None, tmp_path, examples=505)
    schema = read_schema(str(folder))
    assert schema.labels == {f"task_{i}": 2 for i in range(1, 9)}
    assert list(schema.numeric) == [f"x_{j}" for j in range(1, 33)]
    assert schema.rows == {"train": 405, "valid": 50, "test": 50}
    again = conflict.prepare(None, tmp_path / "other", examples=505)
    assert read_schema(str(again)).fingerprint == schema.fingerprint
    for other in ({"seed": 1}, {"conflict": 0.1}, {"features": 33}):
        assert conflict.prepare(None, tmp_path, examples=505, **other) != folder


def test_the_same_options_are_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = conflict.prepare(None, tmp_path, examples=200, conflict=0)
    monkeypatch.setattr(conflict, "draw", None)
    assert conflict.prepare(None, tmp_path, examples=200, conflict=0.0) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"conflict": 0.15},
            r"conflict is 0\.15 for 8 tasks; allowed are 0 \(orthogonal directions\) to 0\.142857.*Lower",
        ),
        ({"conflict": -0.1}, r"conflict is -0\.1 for 8 tasks; allowed are 0"),
        ({"conflict": float("nan")}, "conflict is nan"),
        ({"conflict": "high"}, "conflict is 'high'"),
        ({"tasks": 0}, "tasks is 0; give a whole number of at least 1"),
        ({"tasks": 2.0}, r"tasks is 2\.0; give a whole number"),
        ({"examples": 99}, "examples is 99; give a whole number of at least 100"),
        ({"features": 7}, "features is 7 for 8 tasks; give a whole number of at least 8.*or fewer tasks"),
        ({"seed": -1}, "seed is -1; give a whole number of at least 0"),
    ],
)
def test_refusals(options: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        conflict.prepare(None, tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set data\.path to null"):
        conflict.prepare("conflict.parquet", tmp_path)
