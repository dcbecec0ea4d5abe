"""What commands print at the end of a group of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from nmt.orchestrator.terminal.command_line import print_result

if TYPE_CHECKING:
    from nmt.orchestrator.experiment.prepared import PreparedExperiment
    from nmt.orchestrator.trials.group_outcome import GroupOutcome


def show_group(outcome: GroupOutcome, prepared: PreparedExperiment, file: str, as_json: bool) -> None:
    """Print the outcome of a group.

    Raises:
        RunError: A trial failed for another reason than its learning rate.
    """
    from nmt.orchestrator.terminal.group_table import group_table

    def show(out: Console) -> None:
        title = f"{prepared.experiment.name}: {outcome.kind}"
        out.print(group_table(outcome, prepared.spec.tasks, title, out.width))
        show_links(out, outcome, file)

    print_result(outcome.to_dict(), as_json, show)
    outcome.check()


def show_links(out: Console, outcome: GroupOutcome, file: str) -> None:
    """Print where a group's run is in MLflow."""
    if outcome.run_id is None or outcome.view is None:
        return
    if outcome.link is not None:
        out.print(f"MLflow run: {outcome.link}", soft_wrap=True)
        out.print(f"NMT against grid: {outcome.view}", soft_wrap=True)
    else:
        out.print(f"MLflow run {outcome.run_id}; in the browser: {f'nmt ui {file}'.strip()}", soft_wrap=True)
        out.print(f"NMT against grid: http://127.0.0.1:5000/{outcome.view}", soft_wrap=True)
