"""What was bought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from experiments.data.journey.catalogue import Catalogue
from experiments.data.journey.integers import Floats, Integers, places
from experiments.data.journey.raw_tables import floats, integers

WEEKS_PER_KEY = 64
"""More than there are weeks: ``key * WEEKS_PER_KEY + week`` orders by key, then week."""


@dataclass(frozen=True)
class Purchases:
    """Rows of transactions in which something was bought, as parallel arrays."""

    household: Integers
    store: Integers
    basket: Integers
    product: Integers
    week: Integers
    spent: Floats
    cents: Integers
    """Shelf price of one piece in cents: what was paid, and the store's discounts on top."""


def purchases_of(transactions: pa.Table, catalogue: Catalogue) -> Purchases:
    """The rows of the raw table in which a product of the catalogue was bought."""
    by_identity = np.argsort(catalogue.identity)
    bought = integers(transactions, "product_id")
    at = np.minimum(places(catalogue.identity, bought, by_identity), len(by_identity) - 1)
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
