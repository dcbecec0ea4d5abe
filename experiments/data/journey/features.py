"""Features and labels of documents; features use strictly earlier weeks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nmt.experiments.data.journey.arrays import Floats, Integers, concatenate_ranges, insertion_points
from nmt.experiments.data.journey.catalogue import Catalogue
from nmt.experiments.data.journey.documents import SHELF_WEEKS, Documents
from nmt.experiments.data.journey.purchases import WEEKS_PER_KEY, Purchases


class _History:
    """Weeks of events by key, sorted: counting the events in a range of weeks takes two binary searches."""

    def __init__(self, key: Integers, week: Integers) -> None:
        self._sorted = np.sort(key * WEEKS_PER_KEY + week)

    def count(self, key: Integers, since: Integers, before: Integers) -> Integers:
        """Count the events of each key in the weeks ``since <= week < before``."""
        first, last = (insertion_points(self._sorted, key * WEEKS_PER_KEY + week) for week in (since, before))
        return last - first


def compute_features(purchases: Purchases, catalogue: Catalogue, documents: Documents) -> dict[str, pa.Array]:
    """Compute the numeric features and the labels of each document.

    Args:
        purchases: All purchases.
        catalogue: The products.
        documents: The documents.

    Returns:
        Column → values; counts are not transformed.
    """
    product, week = documents.product, documents.week
    since = week - SHELF_WEEKS
    start = np.zeros_like(week)
    products = len(catalogue.row)

    everywhere = _History(purchases.product, purchases.week)
    in_store = _History(purchases.store * products + purchases.product, purchases.week)
    by_household = _History(purchases.household * products + purchases.product, purchases.week)
    makers = int(catalogue.maker.max()) + 1
    of_maker = _History(purchases.household * makers + catalogue.maker[purchases.product], purchases.week)
    kinds = int(catalogue.kind.max()) + 1
    of_kind = _History(purchases.household * kinds + catalogue.kind[purchases.product], purchases.week)

    store, household = purchases.store[documents.first], purchases.household[documents.first]
    bought_kind = of_kind.count(household * kinds + catalogue.kind[product], start, week)
    bought = documents.bought >= 0
    price = _median_price(purchases, product, week)
    return {
        "price": pa.array(price),
        "price_rank_in_list": pa.array(_rank_in_list(price, documents.query)),
        "store_sales_4w": pa.array(in_store.count(store * products + product, since, week)),
        "all_sales_4w": pa.array(everywhere.count(product, since, week)),
        "all_sales_ytd": pa.array(everywhere.count(product, start, week)),
        "hh_bought_product": pa.array(by_household.count(household * products + product, start, week)),
        "hh_bought_manu": pa.array(of_maker.count(household * makers + catalogue.maker[product], start, week)),
        "pay": pa.array(bought.astype(np.int8)),
        "amount": pa.array(purchases.spent[documents.bought], mask=~bought),
        "relevance": pa.array(np.digitize(bought_kind, (1, 3)).astype(np.int8)),
    }


def _median_price(purchases: Purchases, product: Integers, week: Integers) -> Floats:
    """Return the median shelf price of each product over all stores in the four weeks before, in dollars."""
    key = purchases.product * WEEKS_PER_KEY + purchases.week
    by_key = np.argsort(key, kind="stable")
    pairs, inverse = np.unique(product * WEEKS_PER_KEY + week, return_inverse=True)
    start = insertion_points(key, pairs - SHELF_WEEKS, by_key)
    size = insertion_points(key, pairs, by_key) - start
    cents = purchases.cents[by_key[concatenate_ranges(start, size)]]
    # Sorting by (pair, price) keeps the pairs in place and sorts the prices of each.
    dearest = int(cents.max()) + 1
    cents = np.sort(np.repeat(np.arange(len(pairs)), size) * dearest + cents) % dearest
    begin = np.cumsum(size) - size
    return np.asarray((cents[begin + (size - 1) // 2] + cents[begin + size // 2])[inverse] / 200)


def _rank_in_list(price: Floats, query: Integers) -> Floats:
    """Return the rank of each price in its list, divided by the list's size; equal prices share their mean rank."""
    size = np.bincount(query)
    column = concatenate_ranges(np.zeros(len(size), np.int64), size)
    grid = np.full((len(size), int(size.max())), np.nan)
    grid[query, column] = price
    below = (grid[:, None, :] < grid[:, :, None]).sum(2)
    equal = (grid[:, None, :] == grid[:, :, None]).sum(2)
    return np.asarray((below + (equal + 1) / 2)[query, column] / size[query])
