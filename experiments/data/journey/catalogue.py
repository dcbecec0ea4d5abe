"""The catalogue of products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from experiments.data.journey.integers import Integers, places
from experiments.data.journey.raw_tables import codes, integers

NOT_ON_A_SHELF = "COUPON/MISC ITEMS"
"""A category that is none: petrol (with quantities in thousands), gift cards, sundries. Left out throughout."""


@dataclass(frozen=True)
class Catalogue:
    """Products numbered by (category, product), so that a category is a range of numbers.

    Attributes:
        row: Number → row in the raw table of products.
        identity: Number → id of the product.
        category: Number → category code.
        kind: Number → code of the product type.
        maker: Number → manufacturer.
        starts: Category code → first number; the next category's start is its end.
    """

    row: Integers
    identity: Integers
    category: Integers
    kind: Integers
    maker: Integers
    starts: Integers


def catalogue_of(products: pa.Table) -> Catalogue:
    """The products of the raw table whose category and type are known."""
    category_name, kind_name = products.column("product_category"), products.column("product_type")
    known = np.asarray(category_name.is_valid()) & np.asarray(kind_name.is_valid())
    known &= np.asarray(category_name.fill_null("")) != NOT_ON_A_SHELF
    identity = integers(products, "product_id")
    category = codes(category_name)
    row = np.lexsort((identity, category))
    row = row[known[row]]
    return Catalogue(
        row=row,
        identity=identity[row],
        category=category[row],
        kind=codes(kind_name)[row],
        maker=integers(products, "manufacturer_id")[row],
        starts=places(category[row], np.arange(category.max() + 2)),
    )
