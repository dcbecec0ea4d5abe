"""The page "NMT against grid": a saved view on an MLflow experiment that shows sweeps and grids side by side.

MLflow keeps a saved view in a tag of the experiment: a JSON envelope whose ``state`` is the deflated state of its page.
So the page needs no front end of our own, and users can save their own views beside it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from nmt.orchestrator.credentials import without_user
from nmt.orchestrator.tracking import experiment_note
from nmt.orchestrator.tracking.address import TRAINING
from nmt.orchestrator.tracking.store import TrackingStore, milliseconds
from nmt.trainers.spec.task import Task

TITLE = "NMT against grid"

SHARE_KEY = "nmt-against-grid"

TAG = f"mlflow.sharedViewState.{SHARE_KEY}"

TASKS_SHOWN = 6
"""Most tasks with charts, the first by priority: the page stays readable, and MLflow limits the length of a tag."""

# MLflow compares tags by =, != and LIKE; it supports neither OR, nor IN for a tag.
FILTER = " AND ".join(
    ("metrics.`cost/trials` > 0", *(f"tags.`nmt.kind` != '{kind}'" for kind in ("chain", "stage", "weights")))
)
"""Selects runs that count trials: sweeps, grids, and the named methods of a comparison."""

# By a metric, since MLflow nests runs sorted by date, and the charts of a collapsed parent are empty.
ORDER_BY = "metrics.`cost/samples`"

SPENT = ("cost/trials", "cost/stages", "cost/samples", "cost/worker_seconds")
"""Costs whose charts are shown."""

FOLDED = ("cost/stages_reused", "cost/samples_reused", "cost/steps", "cost/wall_seconds")
"""Costs whose charts are collapsed; MLflow gives a metric without a chart one of its own, over steps."""

# MLflow always shows this column, and truncates most names at its default width.
_NAME_COLUMN = {"attributes.`Run Name`": 260}

_PREFIX = "deflate;"

_Json = dict[str, Any]


def view_tag(tasks: Sequence[Task], at: int) -> tuple[str, str]:
    """Return name and value of the tag that holds the view.

    Args:
        tasks: The tasks, highest priority first.
        at: Creation time of the view, in milliseconds since 1970.
    """
    state = base64.b64encode(zlib.compress(json.dumps(view_state(tasks)).encode(), 9)).decode()
    return TAG, json.dumps({"name": TITLE, "createdAt": at, "updatedAt": at, "state": _PREFIX + state})


def read_state(value: str) -> Mapping[str, Any] | None:
    """Return the page's state from the value of a tag, or ``None`` where the value is no saved view."""
    try:
        packed = json.loads(value)["state"].removeprefix(_PREFIX)
        state = json.loads(zlib.decompress(base64.b64decode(packed)))
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error):
        return None
    return state if isinstance(state, dict) else None


def install(store: TrackingStore, tasks: Sequence[Task]) -> None:
    """Put the view on the store's experiment, with a description of how to read it; write only what has changed.

    Args:
        store: The experiment.
        tasks: Its tasks, highest priority first.

    Raises:
        mlflow.exceptions.MlflowException: The store does not answer.
    """
    found = store.experiment_tags()
    # Compare states, not texts: two builds of zlib may compress the same state differently.
    if read_state(found.get(TAG, "")) != view_state(tasks):
        store.set_experiment_tag(*view_tag(tasks, milliseconds()))
    note = experiment_note.merge_note(found.get(experiment_note.TAG, ""), tasks, _fragment(store.experiment_id))
    if note is not None:
        store.set_experiment_tag(experiment_note.TAG, note)


def link(store: TrackingStore) -> str:
    """Return the address of the page; where the store is no server, the fragment to append to that of ``nmt ui``."""
    fragment = _fragment(store.experiment_id)
    return f"{without_user(store.uri).rstrip('/')}/{fragment}" if store.uri.startswith("http") else fragment


def view_state(tasks: Sequence[Task]) -> _Json:
    """Return the state of the page: filter and order of the runs, columns of their table, charts.

    Titles of charts are left to MLflow, which shows the metric's name in any case.
    """
    names = [task.name for task in tasks[:TASKS_SHOWN]]
    winner = [f"winner/{name}" for name in names]
    columns = {"tags.`nmt.kind`": 110, "params.`method`": 130}
    columns |= {f"metrics.`{metric}`": _width(metric) for metric in (*winner, *SPENT, *FOLDED)}
    return {
        "searchFilter": FILTER,
        "orderByKey": ORDER_BY,
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": [*_NAME_COLUMN, *columns],
        "columnWidths": {**_NAME_COLUMN, **columns},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunCharts": [
            *(_line("best", place, f"best/{name}") for place, name in enumerate(names)),
            *(_line("winner", place, metric) for place, metric in enumerate(winner)),
            *(_bar("spent", place, metric) for place, metric in enumerate(SPENT)),
            *(_bar("beside", place, metric) for place, metric in enumerate(FOLDED)),
        ],
        "compareRunSections": [
            _section("best", "Best of each task so far", columns=min(len(names), 3)),
            _section("winner", "Winner so far", columns=min(len(names), 3)),
            _section("spent", "Spent in all", columns=2),
            _section("beside", "Reused, and further costs", columns=2, folded=True),
        ],
    }


def _width(metric: str) -> int:
    """Return the width in pixels at which a column's heading and values are legible."""
    return max(110, 40 + 7 * len(metric))


def _fragment(experiment_id: str) -> str:
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={SHARE_KEY}&compareRunsMode=CHART&{TRAINING}"


def _section(section: str, name: str, columns: int, folded: bool = False) -> _Json:
    return {
        "uuid": f"nmt-{section}",
        "name": name,
        "display": not folded,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": columns,
    }


def _bar(section: str, place: int, metric: str) -> _Json:
    return {
        "type": "BAR",
        "uuid": f"nmt-{section}-{place}",
        "metricSectionId": f"nmt-{section}",
        "displayName": metric,
        "metricKey": metric,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }


def _line(section: str, place: int, metric: str) -> _Json:
    return {
        **_bar(section, place, metric),
        "type": "LINE",
        "selectedMetricKeys": [metric],
        "lineSmoothness": 0,
        "displayPoints": True,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "metric",
        "selectedXAxisMetricKey": "cost/samples",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
    }
