"""MLflow's pages as a person sees them: the runs of a sweep and a grid, and "NMT against grid"."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from nmt.orchestrator.tracking import saved_view
from nmt.orchestrator.tracking.store import Point, TrackingStore, milliseconds
from nmt.orchestrator.trials.cost import Cost
from nmt.trainers.spec.task import Task
from tests.orchestrator import _browser
from tests.orchestrator._browser import Browser
from tests.orchestrator._server import Server, free_port

TASKS = (Task("like", "binary_cross_entropy"), Task("finish", "binary_cross_entropy"))
TRIAL = {
    "sweep": Cost(trials=1, stages=2, steps=300, samples=30_000, worker_seconds=12.5, wall_seconds=6.25),
    "grid": Cost(trials=1, stages=1, steps=200, samples=20_000, worker_seconds=8.5, wall_seconds=4.25),
}
TRIALS = {"sweep": 2, "grid": 5}
PARTS = {"sweep": "chain", "grid": "weights"}


def fill(store: TrackingStore) -> None:
    """Write a sweep and a grid with their trials."""
    params = {"method": "nmt", "eta_theta": "none", "eta_lambda": "none", "weights": "none"}
    for kind, trials in TRIALS.items():
        tags = {"nmt.kind": kind, "nmt.method": "nmt"}
        whole = store.open_run(kind, f"{kind} of {trials}", tags, params)
        cost = Cost()
        for trial in range(trials):
            name = f"{PARTS[kind]} {trial + 1}"
            part = store.open_run(f"{kind}.{trial}", name, {"nmt.kind": PARTS[kind]}, params, whole.run_id)
            store.log(part.run_id, points(TRIAL[kind].metrics(), TRIAL[kind].steps))
            store.end_run(part.run_id, "FINISHED")
            cost = cost + TRIAL[kind]
            reached = {f"{of}/{task.name}": 0.7 + 0.01 * trial for of in ("best", "winner") for task in TASKS}
            store.log(whole.run_id, points({**cost.metrics(), **reached}, trial))
        store.end_run(whole.run_id, "FINISHED")


def points(values: dict[str, float], step: int) -> list[Point]:
    at = milliseconds()
    return [Point(name, value, step, at) for name, value in values.items()]


def column(name: str) -> str:
    """Return a JavaScript expression for the values of a column of the table of runs."""
    cells = f"""document.querySelectorAll('[role=gridcell][col-id="{name}"]')"""
    return f"(cells => cells.every(cell => cell.innerText) ? cells.map(cell => cell.innerText) : [])([...{cells}])"


RUNS = """[...document.querySelectorAll('a[href*="/runs/"]')].map(link => link.innerText)"""

CARDS = "[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card]')]"

TITLES = f"{CARDS}.map(card => card.innerText.split('\\n')[0])"


def points_drawn(metric: str) -> str:
    """Return a JavaScript expression for the number of points or bars on the chart of a metric."""
    return f"{CARDS}.find(card => card.innerText.startsWith('{metric}\\n'))?.querySelectorAll('.point').length"


@pytest.mark.slow
@pytest.mark.skipif(_browser.PATH is None, reason=f"no browser: none of {', '.join(_browser.NAMES)} is installed")
def test_a_sweep_and_a_grid_are_shown_side_by_side(tmp_path: Path, database: Path, servers: list[Server]) -> None:
    shutil.copy(database, tmp_path / "mlflow.db")
    store = TrackingStore(f"sqlite:///{tmp_path}/mlflow.db", "ranking")
    fill(store)
    saved_view.install(store, TASKS)
    link = saved_view.link(store)
    server = Server(tmp_path, free_port())
    servers.append(server)
    with (
        tempfile.TemporaryDirectory(prefix="nmt-", ignore_cleanup_errors=True) as folder,
        Browser(Path(folder)) as page,
    ):
        page.open(f"{server.uri}/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning")
        page.wait_for(f"document.querySelector('a[href=\"{link}\"]')?.innerText == 'NMT against grid'")
        assert set(page.wait_for(f"({RUNS}).includes('sweep of 2') && ({RUNS})")) >= {"sweep of 2", "grid of 5"}

        page.open(f"{server.uri}/{link.replace('&compareRunsMode=CHART', '')}")
        assert page.wait_for(column("tags.`nmt.kind`")) == ["sweep", "grid"]
        for name, values in {
            "params.`method`": ["nmt", "nmt"],
            "metrics.`winner/like`": ["0.71", "0.74"],
            "metrics.`cost/trials`": ["2", "5"],
            "metrics.`cost/stages`": ["4", "5"],
            "metrics.`cost/samples`": ["60000", "100000"],
            "metrics.`cost/worker_seconds`": ["25", "42.5"],
        }.items():
            assert page.wait_for(column(name)) == values
        assert page.wait_for(RUNS) == ["sweep of 2", "grid of 5"]

        page.open(f"{server.uri}/{link}")
        curves = ("best/like", "best/finish", "winner/like", "winner/finish")
        for metric, drawn in {
            **dict.fromkeys(curves, sum(TRIALS.values())),
            **dict.fromkeys(saved_view.SPENT, 2),
        }.items():
            page.wait_for(f"{points_drawn(metric)} == {drawn}")
        assert page.wait_for(TITLES) == [*curves, *saved_view.SPENT]
    server.stop(signal.SIGTERM)
