"""The documents of the sampled lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nmt.experiments.data.journey.arrays import Integers, concatenate_ranges, contains, distinct, insertion_points
from nmt.experiments.data.journey.catalogue import Catalogue
from nmt.experiments.data.journey.purchases import WEEKS_PER_KEY, Purchases

WEEKS = {"train": (10, 40), "valid": (41, 44), "test": (45, 53)}
"""Split → first and last week of its visits."""

SHARES = {"train": 1.0, "valid": 0.3, "test": 0.5}
"""Split → number of sampled visits, as a share of the option ``visits``."""

SHELF_WEEKS = 4
"""A product is on a store's shelf if it was sold there in this many weeks before the visit."""

LIST_SIZES = (6, 20)
"""Smallest and largest number of documents in a list."""

MOST_BOUGHT = 5
"""Largest number of bought products in a list."""


@dataclass(frozen=True)
class Documents:
    """Documents of the sampled lists, as parallel arrays; the documents of a list are adjacent.

    Attributes:
        query: Number of the list, from 0 in the order of weeks.
        first: Index of one purchase of the list, which has its household, store and basket.
        week: Week of the visit.
        product: Number of the product in the catalogue.
        bought: Index of the document's purchase, or -1 if it was not bought.
    """

    query: Integers
    first: Integers
    week: Integers
    product: Integers
    bought: Integers


def sample_documents(purchases: Purchases, catalogue: Catalogue, visits: int, rng: np.random.Generator) -> Documents:
    """Sample visits and build the documents of all their lists.

    Args:
        purchases: All purchases.
        catalogue: The products.
        visits: Training visits to sample; validation and test take the share :data:`SHARES` of it.
        rng: Draws the visits, and the documents of lists that are too long.
    """
    products = len(catalogue.row)
    store = np.unique(purchases.store, return_inverse=True)[1]
    slot = (store * WEEKS_PER_KEY + purchases.week) * products
    # A product sold in week w is on the shelf in the weeks w + 1 … w + 4.
    sold = distinct(slot + purchases.product)
    shelf = distinct(np.concatenate([sold + later * products for later in range(1, SHELF_WEEKS + 1)]))

    wanted = np.flatnonzero(purchases.week >= WEEKS["train"][0])
    shelved = contains(shelf, (slot + purchases.product)[wanted])
    category = catalogue.category[purchases.product[wanted]]
    basket = np.unique(purchases.basket[wanted], return_inverse=True)[1]
    _, first, query = np.unique(
        (purchases.week[wanted] * (basket.max() + 1) + basket) * len(catalogue.starts) + category,
        return_index=True,
        return_inverse=True,
    )
    start = insertion_points(shelf, slot[wanted][first] + catalogue.starts[category[first]])
    size = insertion_points(shelf, slot[wanted][first] + catalogue.starts[category[first] + 1]) - start
    on_shelf = np.bincount(query, weights=shelved)
    fit = (size >= LIST_SIZES[0]) & (on_shelf >= 1) & (np.bincount(query) <= MOST_BOUGHT)

    kept = np.flatnonzero(fit & _sample_visits(basket[first], purchases.week[wanted][first], fit, visits, rng))
    sizes = size[kept]
    owner = np.repeat(np.arange(len(kept)), sizes)
    product = shelf[concatenate_ranges(start[kept], sizes)] % products

    # Look up the purchases of the kept lists by (list, product); a basket has each product once.
    number = np.full(len(first), -1)
    number[kept] = np.arange(len(kept))
    theirs = np.flatnonzero(shelved & (number[query] >= 0))
    keys = number[query[theirs]] * products + purchases.product[wanted[theirs]]
    bought = _look_up(owner * products + product, keys, wanted[theirs])

    stays = _draw_documents(owner, sizes, bought >= 0, rng)
    origin = wanted[first[kept]][owner[stays]]
    return Documents(owner[stays], origin, purchases.week[origin], product[stays], bought[stays])


def _look_up(wanted: Integers, keys: Integers, values: Integers) -> Integers:
    """Return the value of each wanted key; -1 for a key that is not there."""
    by_key = np.argsort(keys, kind="stable")
    at = by_key[np.minimum(insertion_points(keys, wanted, by_key), len(keys) - 1)]
    return np.where(keys[at] == wanted, values[at], -1)


def _draw_documents(
    owner: Integers, sizes: Integers, bought: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which documents stay in their lists: all bought ones, and random others up to the largest size."""
    lot = np.where(bought, -1.0, rng.random(len(owner)))
    rank = np.empty(len(owner), np.int64)
    rank[np.lexsort((lot, owner))] = concatenate_ranges(np.zeros(len(sizes), np.int64), sizes)
    return rank < LIST_SIZES[1]


def _sample_visits(
    basket: Integers, week: Integers, fit: npt.NDArray[np.bool_], visits: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which queries belong to a sampled visit; visits without a fitting list are not drawn."""
    sampled = np.zeros(int(basket.max()) + 1, bool)
    for split, (first, last) in WEEKS.items():
        eligible = distinct(basket[fit & (week >= first) & (week <= last)])
        wanted = min(round(visits * SHARES[split]), len(eligible))
        sampled[rng.choice(eligible, wanted, replace=False)] = True
    return np.asarray(sampled[basket])


def split_names(week: Integers) -> npt.NDArray[np.str_]:
    """Return the split of each week."""
    names = np.asarray(list(WEEKS))
    return np.asarray(names[np.searchsorted([last for _, last in WEEKS.values()], week, side="left")])
