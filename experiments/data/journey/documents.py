"""The documents of lists: which visits are sampled, and what was on the shelf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.data.journey.catalogue import Catalogue
from experiments.data.journey.integers import Integers, distinct, members, places, ranges
from experiments.data.journey.purchases import WEEKS_PER_KEY, Purchases

WEEKS = {"train": (10, 40), "valid": (41, 44), "test": (45, 53)}
"""Split → first and last week of its visits."""

SHARES = {"train": 1.0, "valid": 0.3, "test": 0.5}
"""Split → number of its visits, as a share of the option ``visits``."""

SHELF_WEEKS = 4
"""A product is on a store's shelf when it was sold there in so many weeks before the visit."""

LIST_SIZES = (6, 20)
"""Smallest and largest number of documents of a list."""

MOST_BOUGHT = 5
"""Largest number of products of a category that were bought on one visit."""


@dataclass(frozen=True)
class Documents:
    """Documents of the sampled lists, as parallel arrays; rows of a list are adjacent.

    Attributes:
        query: List, numbered from 0 in the order of weeks.
        first: A purchase of the list, for its household, store and basket.
        week: Week of the visit.
        product: Number in the catalogue.
        bought: Row in purchases of the document, or -1.
    """

    query: Integers
    first: Integers
    week: Integers
    product: Integers
    bought: Integers


def sample_documents(purchases: Purchases, catalogue: Catalogue, visits: int, rng: np.random.Generator) -> Documents:
    """Sample visits and lay out the documents of all their lists.

    Args:
        purchases: What was bought.
        catalogue: The products.
        visits: Training visits to sample; :data:`SHARES` of it for valid and test.
        rng: Draws the visits, and the documents of lists that would be too long.
    """
    products = len(catalogue.row)
    store = np.unique(purchases.store, return_inverse=True)[1]
    place = (store * WEEKS_PER_KEY + purchases.week) * products
    # What was sold in week w is on the shelf in the weeks w + 1 … w + 4.
    sold = distinct(place + purchases.product)
    shelf = distinct(np.concatenate([sold + later * products for later in range(1, SHELF_WEEKS + 1)]))

    wanted = np.flatnonzero(purchases.week >= WEEKS["train"][0])
    shelved = members(shelf, (place + purchases.product)[wanted])
    category = catalogue.category[purchases.product[wanted]]
    basket = np.unique(purchases.basket[wanted], return_inverse=True)[1]
    _, first, query = np.unique(
        (purchases.week[wanted] * (basket.max() + 1) + basket) * len(catalogue.starts) + category,
        return_index=True,
        return_inverse=True,
    )
    start = places(shelf, place[wanted][first] + catalogue.starts[category[first]])
    size = places(shelf, place[wanted][first] + catalogue.starts[category[first] + 1]) - start
    on_shelf = np.bincount(query, weights=shelved)
    fit = (size >= LIST_SIZES[0]) & (on_shelf >= 1) & (np.bincount(query) <= MOST_BOUGHT)

    kept = np.flatnonzero(fit & _sampled(basket[first], purchases.week[wanted][first], fit, visits, rng))
    sizes = size[kept]
    owner = np.repeat(np.arange(len(kept)), sizes)
    product = shelf[ranges(start[kept], sizes)] % products

    # Purchases on the shelf in the kept lists, looked up by (list, product); a product is once in a basket.
    number = np.full(len(first), -1)
    number[kept] = np.arange(len(kept))
    theirs = np.flatnonzero(shelved & (number[query] >= 0))
    keys = number[query[theirs]] * products + purchases.product[wanted[theirs]]
    bought = _looked_up(owner * products + product, keys, wanted[theirs])

    stays = _drawn(owner, sizes, bought >= 0, rng)
    origin = wanted[first[kept]][owner[stays]]
    return Documents(owner[stays], origin, purchases.week[origin], product[stays], bought[stays])


def _looked_up(wanted: Integers, keys: Integers, values: Integers) -> Integers:
    """The value of each wanted key; -1 where there is none."""
    by_key = np.argsort(keys, kind="stable")
    at = by_key[np.minimum(places(keys, wanted, by_key), len(keys) - 1)]
    return np.where(keys[at] == wanted, values[at], -1)


def _drawn(
    owner: Integers, sizes: Integers, bought: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which documents stay in their lists: the bought ones first, then others by lot, in the catalogue's order."""
    lot = np.where(bought, -1.0, rng.random(len(owner)))
    rank = np.empty(len(owner), np.int64)
    rank[np.lexsort((lot, owner))] = ranges(np.zeros(len(sizes), np.int64), sizes)
    return rank < LIST_SIZES[1]


def _sampled(
    basket: Integers, week: Integers, fit: npt.NDArray[np.bool_], visits: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which queries belong to a sampled visit. Visits without a fitting list are not drawn."""
    chosen = np.zeros(int(basket.max()) + 1, bool)
    for split, (first, last) in WEEKS.items():
        there = distinct(basket[fit & (week >= first) & (week <= last)])
        wanted = min(round(visits * SHARES[split]), len(there))
        chosen[rng.choice(there, wanted, replace=False)] = True
    return np.asarray(chosen[basket])


def split_names(week: Integers) -> npt.NDArray[np.str_]:
    """The split of each week."""
    names = np.asarray(list(WEEKS))
    return np.asarray(names[np.searchsorted([last for _, last in WEEKS.values()], week, side="left")])
