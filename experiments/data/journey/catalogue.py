"""The catalogue of products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nmt.experiments.data.journey.arrays import Integers, insertion_points
from nmt.experiments.data.journey.raw_tables import integers, text_codes

NOT_ON_A_SHELF = "COUPON/MISC ITEMS"
"""The category of petrol (with quantities in thousands), gift cards and sundries, which is left out everywhere."""


@dataclass(frozen=True)
class Catalogue:
    """Products numbered by (category, product id), so that a category is a range of numbers.

    Attributes:
        row: Number → row in the raw table of products.
        identity: Number → id of the product.
        category: Number → category code.
        kind: Number → code of the product type.
        maker: Number → manufacturer.
        starts: Category code → number of its first product; the next category's start is its end.
    """

    row: Integers
    identity: Integers
    category: Integers
    kind: Integers
    maker: Integers
    starts: Integers


def build_catalogue(products: pa.Table) -> Catalogue:
    """Number the products of the raw table whose category and type are known."""
    category_name, kind_name = products.column("product_category"), products.column("product_type")
    known = np.asarray(category_name.is_valid()) & np.asarray(kind_name.is_valid())
    known &= np.asarray(category_name.fill_null("")) != NOT_ON_A_SHELF
    identity = integers(products, "product_id")
    category = text_codes(category_name)
    row = np.lexsort((identity, category))
    row = row[known[row]]
    return Catalogue(
        row=row,
        identity=identity[row],
        category=category[row],
        kind=text_codes(kind_name)[row],
        maker=integers(products, "manufacturer_id")[row],
        starts=insertion_points(category[row], np.arange(category.max() + 2)),
    )
