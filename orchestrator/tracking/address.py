"""Addresses of pages of MLflow's UI."""

from __future__ import annotations

from nmt.orchestrator.credentials import without_user

TRAINING = "workflowType=machine_learning"
"""Query that selects MLflow's pages for model training; without it, MLflow opens those for language models."""


def page(uri: str, experiment_id: str, run_id: str | None = None) -> str:
    """Return the address of the page of an experiment's runs, or of one run.

    Args:
        uri: Address of the server.
        experiment_id: Id of the experiment.
        run_id: Id of the run; the page of all runs when absent.
    """
    runs = f"{without_user(uri).rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{runs}/{run_id}?{TRAINING}" if run_id is not None else f"{runs}?{TRAINING}"
