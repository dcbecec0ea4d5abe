"""The files of a comparison: page, tables and figures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

from matplotlib.figure import Figure

from nmt.orchestrator.comparison.cost_figure import cost_against_tasks
from nmt.orchestrator.comparison.front_figure import trade_off_front
from nmt.orchestrator.comparison.guarantees import guarantees_columns
from nmt.orchestrator.comparison.page import page
from nmt.orchestrator.comparison.results import Comparison
from nmt.orchestrator.comparison.table import comparison_columns, comparison_markdown
from nmt.orchestrator.figures.multipliers import multiplier_trajectory

PAGE = "comparison.html"
TABLE = "comparison_table.json"
"""Columns of the table; like the guarantees', logged as an MLflow table, all other files as they are."""

GUARANTEES_TABLE = "guarantees_table.json"
"""Deviations of the chosen models from NMT's optima."""


def comparison_files(comparison: Comparison) -> Mapping[str, bytes]:
    """Return the files of a comparison: name → content."""
    files = {
        PAGE: page(comparison).encode(),
        "comparison.md": comparison_markdown(comparison).encode(),
        "comparison.json": json.dumps(comparison.to_dict(), indent=1, allow_nan=False).encode(),
        TABLE: json.dumps(comparison_columns(comparison)).encode(),
        GUARANTEES_TABLE: json.dumps(guarantees_columns(comparison)).encode(),
        "figures/trade_off_front.png": png(trade_off_front(comparison)),
        "figures/cost_against_tasks.png": png(cost_against_tasks(comparison.costs, exact=comparison.exact_samples)),
    }
    if len(comparison.chain) > 1:
        files["figures/multipliers.png"] = png(multiplier_trajectory(comparison.chain))
    return files


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
