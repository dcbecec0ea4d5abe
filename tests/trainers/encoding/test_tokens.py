"""Raw values of other types than in training find the tokens that mean the same."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from nmt.trainers.encoding.encoder import Encoder
from nmt.trainers.encoding.tokens import TokenColumn, comparable, count_tokens


def column(values: pa.Array, *, empty_is_missing: bool = False) -> TokenColumn:
    tokens, _ = count_tokens(comparable(values), 1)
    return TokenColumn(values.type, tokens, empty_is_missing)


WHOLE = pa.array([3, 7, 11], pa.int32())
OOV = 4


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array([7, 3, 99, None], pa.int64()), [2, 1, OOV, OOV]),
        (pa.array([7, 3, 200], pa.uint8()), [2, 1, OOV]),
        (pa.array([7, 2**63], pa.uint64()), [2, OOV]),
        (pa.array([7.0, 3.5, float("nan"), 1e300, None]), [2, OOV, OOV, OOV, OOV]),
        (pa.array(["7", " 11 ", "x", "", None, "7.0"]), [2, 3, OOV, OOV, OOV, OOV]),
        (pa.array(["7", "99999999999999999999"], pa.large_string()), [2, OOV]),
        (pa.array(["7", "7"]).dictionary_encode(), [2, 2]),
        (pa.nulls(2), [OOV, OOV]),
    ],
)
def test_whole_numbers(values: pa.Array, ids: list[int]) -> None:
    assert column(WHOLE).ids(values).to_pylist() == ids


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array(["b", "a", "", "z", None]), [3, 2, 1, OOV, OOV]),
        (pa.array(["b", "a"], pa.large_string()), [3, 2]),
        (pa.array(["b"], pa.string_view()), [3]),
        (pa.array([5]), [OOV]),
    ],
)
def test_texts(values: pa.Array, ids: list[int]) -> None:
    assert column(pa.array(["a", "b", ""])).ids(values).to_pylist() == ids


def test_an_empty_text_is_missing_where_the_files_say_so() -> None:
    found = column(pa.array(["a", "b", "c"]), empty_is_missing=True)
    assert found.ids(pa.array(["", "a"])).to_pylist() == [4, 1]


def test_numbers_as_texts_of_official_files() -> None:
    assert column(pa.array(["10", "2"]), empty_is_missing=True).ids(pa.array([2, 10, 3])).to_pylist() == [2, 1, 3]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 300]),
        pa.array([1, 2**63], pa.uint64()),
        pa.array([True, False, None]),
        pa.array([0.1, 2.5, -0.0], pa.float32()),
        pa.array([0.1, 1e-300, 12345.678901234567]),
        pa.array(["a", "", "ü\n", 'quo"te']),
        pa.array([b"\x00\xff", b"a"]),
        pa.array([datetime.date(2022, 5, 1), datetime.date(1960, 1, 1)]),
        pa.array([datetime.datetime(2022, 5, 1, 12, 30, 1, 5)], pa.timestamp("us")),
        pa.array([datetime.datetime(2022, 5, 1, 12, 30)], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([None, None]),
    ],
    ids=str,
)
def test_an_encoder_read_back_gives_the_same_ids(values: pa.Array) -> None:
    given = Encoder({"x": column(values)})
    read = Encoder.from_files(given.to_files())
    rows = pa.table({"x": values})
    assert read.categorical["x"].type == values.type
    assert read.categorical["x"].tokens.equals(given.categorical["x"].tokens)
    assert read.encode(rows).categorical.tolist() == given.encode(rows).categorical.tolist()
    valid = values.drop_null()
    assert (read.categorical["x"].ids(valid).to_numpy() < read.categorical["x"].size - 1).all()
