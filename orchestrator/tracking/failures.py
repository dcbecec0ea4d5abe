"""Failures of a tracking store: which of them pass by themselves, and how they are told."""

from __future__ import annotations

from orchestrator.credentials import without_credentials

_STAYING = frozenset(
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
"""MLflow's error codes that the same request would meet again. A plain BAD_REQUEST is none of them: it is also what
MLflow makes of a database connection that broke."""

_LONGEST = 240


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later: the store is away, restarting, too busy or too slow."""
    if isinstance(error, ImportError):
        return False
    from mlflow.exceptions import InvalidUrlException, MlflowException  # MLflow takes seconds to import

    if isinstance(error, InvalidUrlException):
        return False
    if isinstance(error, MlflowException):
        return error.error_code not in _STAYING
    if isinstance(error, OSError):
        return not isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError)
    return type(error).__module__.startswith("sqlalchemy.") and "Operational" in type(error).__name__


def told(error: BaseException) -> str:
    """A failure in one line without credentials: what is at the bottom of it, for MLflow's own message is long."""
    root, seen = error, {id(error)}
    while (below := root.__cause__ or root.__context__) is not None and id(below) not in seen:
        root = below
        seen.add(id(root))
    if isinstance(root, OSError) and root.strerror:
        return root.strerror
    text = next((line.strip() for line in str(root).splitlines() if line.strip()), "") or type(root).__name__
    return without_credentials(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
