"""Fixtures of the room ``trainers``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.trainers._problems import Prepared, mixed_lists, mixed_rows
from tests.trainers._workers import Workers


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: more threads only fight for the cores of the worker processes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def rows_data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return mixed_rows(tmp_path_factory.mktemp("data") / "rows")


@pytest.fixture(scope="session")
def lists_data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return mixed_lists(tmp_path_factory.mktemp("data") / "lists")


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    pool = Workers(tmp_path_factory.mktemp("workers"))
    yield pool
    pool.stop()
