"""Failures of a tracking store: which are transient, and how they are printed."""

from __future__ import annotations

from nmt.orchestrator.credentials import without_credentials

_PERMANENT = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "CUSTOMER_UNAUTHORIZED",
        "NOT_FOUND",
        "ENDPOINT_NOT_FOUND",
        "NOT_IMPLEMENTED",
        "FEATURE_DISABLED",
    }
)
"""MLflow's error codes that a retry would meet again. BAD_REQUEST is not among them: MLflow also answers it when its
connection to the database breaks."""

_MOST_CHARACTERS = 240


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed: the store is away, restarting, too busy or too slow."""
    if isinstance(error, ImportError):
        return False
    from mlflow.exceptions import InvalidUrlException, MlflowException  # MLflow takes seconds to import

    if isinstance(error, InvalidUrlException):
        return False
    if isinstance(error, MlflowException):
        return error.error_code not in _PERMANENT
    if isinstance(error, OSError):
        return not isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError)
    return type(error).__module__.startswith("sqlalchemy.") and "Operational" in type(error).__name__


def format_error(error: BaseException) -> str:
    """Format the root cause of a failure in one line, without credentials; MLflow's own message is long."""
    root, seen = error, {id(error)}
    while (below := root.__cause__ or root.__context__) is not None and id(below) not in seen:
        root = below
        seen.add(id(root))
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    text = next((line.strip() for line in str(root).splitlines() if line.strip()), "") or type(root).__name__
    return without_credentials(text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…")
