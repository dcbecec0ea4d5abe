"""Names of methods in experiment files."""

from __future__ import annotations

CONSTRAINED = "nmt"
WEIGHTED_SUM = "weighted_sum"
FAMO = "famo"
TORCHJD = "torchjd:"


def is_constrained(name: str) -> bool:
    """Whether a method solves tasks by priority; other methods minimise all tasks in one stage."""
    return name.partition("+")[0] == CONSTRAINED


def check_method(name: str) -> None:
    """Check the name of a method.

    Raises:
        ValueError: Unknown name.
    """
    inner = name.removeprefix(f"{CONSTRAINED}+")
    known = (CONSTRAINED, WEIGHTED_SUM, FAMO) if inner == name else (FAMO,)
    if inner not in known and not (inner.startswith(TORCHJD) and len(inner) > len(TORCHJD)):
        raise ValueError(
            f"unknown method {name!r}; allowed: nmt, weighted_sum, famo, nmt+famo, torchjd:NAME, nmt+torchjd:NAME "
            "with an aggregator of torchjd such as UPGrad"
        )
