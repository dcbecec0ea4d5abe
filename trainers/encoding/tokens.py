"""Tokens of a categorical column: raw values of any type, compared as training saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WHOLE = r"^[+-]?\d+$"
"""A text that is a whole number."""


@dataclass(frozen=True)
class TokenColumn:
    """A categorical column and its vocabulary.

    Ids are 0 for PAD, which no row has, ``1 … n`` for the tokens in their order, and n + 1 for OOV: nulls, NaN, tokens
    that training did not see or saw too rarely.

    Attributes:
        type: Type of the raw column in training.
        tokens: The tokens, each once, of this type as :func:`comparable` makes it; in ascending order, and after them
            those that later days appended.
        empty_is_missing: Whether an empty text is a missing value, as in the official text files.
    """

    type: pa.DataType
    tokens: pa.Array
    empty_is_missing: bool = False

    @property
    def size(self) -> int:
        """Number of ids, PAD and OOV included."""
        return len(self.tokens) + 2

    def ids(self, values: pa.Array) -> pa.Array:
        """Return the id of each value, int32 without nulls.

        Args:
            values: Raw values. They may have another type than in training, if it can say the same: whole numbers as
                texts or floating-point numbers (as pandas has them beside missing values), texts as dictionaries.

        Raises:
            ValueError: The type cannot hold such tokens.
        """
        found = comparable(values)
        if not (is_text(self.tokens.type) and is_text(found.type)):
            try:
                found = _convert(found, self.tokens.type)
            except pa.ArrowNotImplementedError as error:
                raise ValueError(f"holds {values.type}, training had {self.type}; convert it to that") from error
        if is_text(found.type):
            coded = found.dictionary_encode()
            of_code = np.append(self._ids_of_texts(coded.dictionary.to_pylist()), self.size - 1)
            codes = pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy(zero_copy_only=False)
            return pa.array(of_code[codes])
        if pa.types.is_int64(found.type) or pa.types.is_uint64(found.type):
            return pa.array(self._ids_of_numbers(found))
        ids = pc.fill_null(pc.add(pc.index_in(found, value_set=self.tokens), 1), self.size - 1)
        return ids.cast(pa.int32())

    def extended(self, later: TokenColumn) -> TokenColumn:
        """Return this vocabulary with the tokens that only a later one has appended: every id stays what it was.

        Raises:
            ValueError: The tokens are of types that cannot be compared.
        """
        new = later.tokens.filter(pc.equal(self.ids(later.tokens), self.size - 1))
        try:
            tokens = pa.concat_arrays([self.tokens, new.cast(self.tokens.type)])
        except pa.ArrowInvalid as error:
            raise ValueError(f"holds {later.type}, earlier days had {self.type}; convert it to that") from error
        return replace(self, tokens=tokens)

    def _ids_of_texts(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        oov = self.size - 1
        missing = {""} if self.empty_is_missing else set()
        return np.array([oov if text in missing else self._id_of_text.get(text, oov) for text in texts], np.int32)

    def _ids_of_numbers(self, values: pa.Array) -> npt.NDArray[np.int32]:
        """By bisection: the tokens are sorted once, and a table of them need not be built for every batch."""
        tokens, id_of_place = self._sorted_numbers
        numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        ids = np.full(len(numbers), self.size - 1, np.int32)
        if len(tokens):
            places = np.minimum(np.searchsorted(tokens, numbers), len(tokens) - 1)
            known = (tokens[places] == numbers) & values.is_valid().to_numpy(zero_copy_only=False)
            ids[known] = id_of_place[places[known]]
        return ids

    @cached_property
    def _id_of_text(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.tokens.to_pylist(), 1)}

    @cached_property
    def _sorted_numbers(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
        """The tokens in ascending order, and the id of each."""
        tokens = np.asarray(self.tokens.to_numpy())
        order = np.argsort(tokens, kind="stable")
        return tokens[order], (order + 1).astype(np.int32)


def count_tokens(values: pa.Array, min_count: int) -> tuple[pa.Array, pa.Array]:
    """Return the tokens that at least ``min_count`` values have, in sorted order, and their counts.

    Args:
        values: Values as :func:`comparable` returns them.
        min_count: Fewest values.
    """
    counts = pc.value_counts(values)
    tokens, seen = counts.field("values"), counts.field("counts")
    kept = pc.and_(pc.greater_equal(seen, min_count), pc.is_valid(tokens))
    tokens, seen = tokens.filter(kept), seen.filter(kept)
    order = pc.sort_indices(tokens)
    return tokens.take(order), seen.take(order)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def comparable(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return values as tokens are compared: without dictionary, extension type and NaN, integers as int64.

    Times of day and durations become nanoseconds, in whichever unit they are.

    Raises:
        ValueError: The values are nested.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if isinstance(values.type, pa.BaseExtensionType):  # such as arrow.uuid and arrow.json
        values = values.storage
    kind = values.type
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return values.cast(pa.time64("ns") if pa.types.is_time(kind) else pa.duration("ns")).cast(pa.int64())
    if pa.types.is_fixed_size_binary(kind):
        return values.cast(pa.binary())
    if pa.types.is_nested(kind):
        raise ValueError(f"holds {kind}; give one token a row (text or a number)")
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        values = values.cast(pa.int8())
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, kind), values)
        return values.cast(pa.float64()) if pa.types.is_float16(kind) else values
    if pa.types.is_integer(values.type) and not pa.types.is_uint64(values.type):
        return values.cast(pa.int64())
    return values.cast(pa.string()) if pa.types.is_string_view(kind) else values


def _convert(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Return values in the type of the tokens; null where a value cannot be one of them."""
    kind = values.type
    if kind == wanted:
        return values
    if pa.types.is_null(kind):
        return values.cast(wanted)
    if pa.types.is_integer(wanted):
        if is_text(kind):
            values = pc.utf8_trim_whitespace(values)
            return _cast(pc.if_else(pc.match_substring_regex(values, WHOLE), values, pa.scalar(None, kind)), wanted)
        if pa.types.is_floating(kind):
            whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), 2.0**53))
            return _cast(pc.if_else(whole, values, pa.scalar(None, kind)), wanted)
    return _cast(values, wanted)


def _cast(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    try:
        return values.cast(wanted)
    except pa.ArrowInvalid:
        return pa.array([_cast_one(value, wanted) for value in values], wanted)


def _cast_one(value: pa.Scalar, wanted: pa.DataType) -> object:
    """Convert one value, or return ``None``: only columns with a value that does not fit come this slow way."""
    try:
        return value.cast(wanted).as_py()
    except pa.ArrowInvalid:
        return None
