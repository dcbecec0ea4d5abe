from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nmt.trainers.data.memory import MemoryFeed
from nmt.trainers.data.schema import Numeric, Schema
from nmt.trainers.models.features import Features
from tests.trainers._asserts import assert_close
from tests.trainers._problems import Prepared, rows_batch

DIM = 3


def ids(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows)


def test_every_kind_of_column(rows_data: Prepared) -> None:
    batch = next(iter(MemoryFeed(str(rows_data.folder), ["bought"], 32, 0).epoch(0, 0)))
    features = Features(rows_data.schema, DIM)
    vectors = features(batch)
    assert vectors.shape == (32, features.width) == (32, 2 * DIM + 2 + 24)
    assert vectors.dtype == torch.float32
    columns, rows = rows_data.columns["train"], batch.index.numpy()
    matrix = features.embedding.weight.detach()
    assert torch.equal(vectors[:, :DIM], matrix[columns["colour"][rows]])
    assert torch.equal(vectors[:, DIM : 2 * DIM], matrix[4 + columns["shop"][rows]])
    price = np.nan_to_num((columns["price"][rows] - 2.0) / 4.0)
    assert_close(vectors[:, 2 * DIM], price, 1e-6)
    assert np.isnan(columns["price"][rows]).any()
    bits = np.concatenate([columns["words"], columns["flags"]], 1)[rows]
    assert np.array_equal(vectors[:, 2 * DIM + 2 :].detach().numpy(), bits)


def test_two_columns_never_share_a_row_of_the_embedding() -> None:
    sizes = {"a": 3, "b": 5, "c": 2}
    features = Features(Schema(categorical=sizes), 1)
    assert features.embedding.weight.shape == (10, 1)
    used: list[float] = []
    features.requires_grad_(False)
    features.embedding.weight[:, 0] = torch.arange(10.0)
    for column, size in enumerate(sizes.values()):
        for value in range(size):
            row = [0, 0, 0]
            row[column] = value
            used.append(float(features(rows_batch(torch.ones(1, 1), categorical=ids(tuple(row))))[0, column]))
    assert sorted(used) == list(range(10))


def test_pad_is_initialised_to_zeros() -> None:
    features = Features(Schema(categorical={"a": 3, "b": 5}), DIM)
    vectors = features(rows_batch(torch.ones(2, 1), categorical=ids((0, 1), (2, 0))))
    assert not bool(vectors[0, :DIM].any())
    assert not bool(vectors[1, DIM:].any())
    assert bool(vectors[0, DIM:].all())
    assert bool(vectors[1, :DIM].all())


@pytest.mark.parametrize("value", [float("nan"), 7.0])
def test_missing_number_is_the_mean(value: float) -> None:
    features = Features(Schema(numeric={"x": Numeric(mean=7.0, std=2.0)}), DIM)
    numeric = torch.tensor([[value], [11.0]], requires_grad=True)
    vectors = features(rows_batch(torch.ones(2, 1), numeric=numeric))
    assert vectors.tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinite_number_does_not_become_the_largest_float(value: float) -> None:
    features = Features(Schema(numeric={"x": Numeric(mean=7.0, std=2.0)}), DIM)
    vectors = features(rows_batch(torch.ones(1, 1), numeric=torch.tensor([[value]])))
    assert float(vectors.detach().abs()) < 1e6


def test_bits_are_unpacked_as_by_numpy() -> None:
    features = Features(Schema(packed={"p": 16}), DIM)
    packed = torch.tensor([[0b10110001, 0b00000111], [0, 255]], dtype=torch.uint8)
    vectors = features(rows_batch(torch.ones(2, 1), packed=packed))
    assert np.array_equal(vectors.numpy(), np.unpackbits(packed.numpy(), axis=1))


def test_in_double_precision() -> None:
    schema = Schema(categorical={"a": 3}, numeric={"x": Numeric()}, packed={"p": 8})
    batch = rows_batch(
        torch.ones(1, 1), categorical=ids((1,)), numeric=torch.ones(1, 1), packed=torch.ones(1, 1, dtype=torch.uint8)
    )
    assert Features(schema, DIM).double()(batch).dtype == torch.float64


def test_no_rows() -> None:
    schema = Schema(categorical={"a": 3}, numeric={"x": Numeric()}, packed={"p": 8})
    batch = rows_batch(
        torch.ones(0, 1),
        categorical=torch.zeros(0, 1, dtype=torch.int64),
        numeric=torch.ones(0, 1),
        packed=torch.ones(0, 1, dtype=torch.uint8),
    )
    features = Features(schema, DIM)
    assert features(batch).shape == (0, features.width)


def test_statistics_are_part_of_the_state() -> None:
    """A model that starts from another one's parameters standardises as these expect."""
    first = Features(Schema(categorical={"a": 3}, numeric={"x": Numeric(2.0, 4.0)}), DIM)
    second = Features(Schema(categorical={"a": 3}, numeric={"x": Numeric()}), DIM)
    second.load_state_dict(first.state_dict())
    assert set(first.state_dict()) == {"embedding.weight", "mean", "std"}
    assert (float(second.mean), float(second.std)) == (2.0, 4.0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="embedding_dim must be a whole number of at least 1, found 0"):
        Features(Schema(categorical={"a": 3}), 0)
    with pytest.raises(ValueError, match="the data set has no feature column"):
        Features(Schema(), 4)
