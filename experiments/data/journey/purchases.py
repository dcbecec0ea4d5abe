"""The purchases in the raw table of transactions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from nmt.experiments.data.journey.arrays import Floats, Integers, insertion_points
from nmt.experiments.data.journey.catalogue import Catalogue
from nmt.experiments.data.journey.raw_tables import floats, integers

WEEKS_PER_KEY = 64
"""More than the number of weeks, so that ``key * WEEKS_PER_KEY + week`` sorts by key, then week."""


@dataclass(frozen=True)
class Purchases:
    """Purchases of catalogue products, as parallel arrays.

    Attributes:
        household: Household id.
        store: Store id.
        basket: Basket id.
        product: Number of the product in the catalogue.
        week: Week, from 1.
        spent: Amount paid, in dollars.
        cents: Shelf price of one piece in cents: amount paid plus the store's discounts.
    """

    household: Integers
    store: Integers
    basket: Integers
    product: Integers
    week: Integers
    spent: Floats
    cents: Integers


def read_purchases(transactions: pa.Table, catalogue: Catalogue) -> Purchases:
    """Select the transactions in which a product of the catalogue was bought."""
    by_identity = np.argsort(catalogue.identity)
    bought = integers(transactions, "product_id")
    at = np.minimum(insertion_points(catalogue.identity, bought, by_identity), len(by_identity) - 1)
    quantity = integers(transactions, "quantity")
    keep = np.flatnonzero((catalogue.identity[by_identity[at]] == bought) & (quantity > 0))
    spent = floats(transactions, "sales_value")[keep]
    discounts = floats(transactions, "retail_disc")[keep] + floats(transactions, "coupon_match_disc")[keep]
    return Purchases(
        household=integers(transactions, "household_id")[keep],
        store=integers(transactions, "store_id")[keep],
        basket=integers(transactions, "basket_id")[keep],
        product=by_identity[at[keep]],
        week=integers(transactions, "week")[keep],
        spent=spent,
        cents=np.rint(100 * (spent + discounts) / quantity[keep]).astype(np.int64),
    )
