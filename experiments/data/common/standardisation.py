"""Mean and standard deviation of numeric columns, for standardisation."""

from __future__ import annotations

from nmt.trainers.data.schema import Numeric


def numeric_statistics(mean: float, std: float) -> Numeric:
    """Return the statistics of a column; a constant column gets a standard deviation of 1.

    The computed deviation of a constant column is rounding error. Dividing by it would blow up any other value.
    """
    return Numeric(mean, 1.0 if std <= 1e-7 * max(1.0, abs(mean)) else std)
