"""Addresses of MLflow's pages."""

from __future__ import annotations

from orchestrator.credentials import without_user

TRAINING = "workflowType=machine_learning"
"""What chooses MLflow's pages of model training; the others, which are about language models, come up first."""


def page(uri: str, experiment_id: str, run_id: str | None = None) -> str:
    """The page of an experiment's runs, or of one of them, on a server.

    Args:
        uri: Address of the server.
        experiment_id: The experiment.
        run_id: The run.
    """
    runs = f"{without_user(uri).rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{runs}/{run_id}?{TRAINING}" if run_id is not None else f"{runs}?{TRAINING}"
