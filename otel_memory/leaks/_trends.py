# SPDX-License-Identifier: Apache-2.0
"""Lines through the floors of a series, with errors that noise with a memory needs.

A floor is the least figure of a stretch of time: what comes and goes, as garbage that
waits for its collection, is above it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, inf, sqrt
from operator import mul, sub
from typing import NamedTuple

HOUR = 3600.0

_STEPS_MAX = 3
_STEP_SPREADS = 8.0
_STEP_FRACTION = 1e-3
_LAST_QUARTER_MIN = 0.5
_END_SLOPE_MIN = 0.8
_BEND_SIGNIFICANT = 2.5
_ROUNDING = 1e-9


class Trend(NamedTuple):
    """A line through floors: slope per hour, its error, and how far to trust it."""

    slope: float
    error: float
    freedom: int
    rho: float

    @property
    def ratio(self) -> float:
        if self.error > 0:
            return self.slope / self.error
        return inf if self.slope > 0 else 0.0


def bins(
    seconds: Sequence[float], begin: float, bin_seconds: float
) -> Iterable[tuple[int, int, int]]:
    """List whole bins that hold samples: (number, first sample, first of the next).

    Bins stand still while time goes on, so that one more sample changes one bin.
    """
    number = ceil(begin / bin_seconds)
    first = bisect_left(seconds, number * bin_seconds)
    while (number + 1) * bin_seconds <= seconds[-1]:
        last = bisect_left(seconds, (number + 1) * bin_seconds, first)
        if last > first:
            yield number, first, last
        number, first = number + 1, last


def widen(
    numbers: Sequence[int], values: Sequence[float], width: int, bin_hours: float
) -> tuple[list[float], list[float]]:
    """Take floors over several bins; hours since the first, and the floors."""
    groups: dict[int, list[float]] = {}
    for number, value in zip(numbers, values, strict=True):
        groups.setdefault(number // width, []).append(value)
    if (numbers[-1] + 1) % width:
        del groups[numbers[-1] // width]  # not yet whole
    start = numbers[0] // width
    times = [(group - start) * width * bin_hours for group in groups]
    return times, [min(group) for group in groups.values()]


def without_steps(values: list[float]) -> list[float]:
    """Take out up to three upward steps that stand out and were not taken back."""
    for _ in range(_STEPS_MAX):
        steps = list(map(sub, values[1:], values))
        size = max(steps)
        at = steps.index(size)
        # A step may be spread over the bins beside it.
        first, last = max(at - 1, 0), min(at + 2, len(steps))
        rest = sorted(steps[:first] + steps[last:])
        if len(rest) < 4:
            break
        middle = rest[len(rest) // 2]
        spread = sorted(abs(step - middle) for step in rest)[len(rest) // 2]
        if size - middle <= max(_STEP_SPREADS * spread, _STEP_FRACTION * values[0]):
            break
        if min(values[last:]) < values[first] + size / 2:
            break
        level = values[first]
        flattened = [level + middle * (i + 1) for i in range(last - first)]
        drop = values[last] - flattened[-1]
        values = [
            *values[: first + 1],
            *flattened,
            *(value - drop for value in values[last + 1 :]),
        ]
    return values


def _dot(a: Iterable[float], b: Iterable[float]) -> float:
    product: float = sum(map(mul, a, b))  # map's own type is Any
    return product


def _whiten(values: Sequence[float], rho: float) -> list[float]:
    """Leave of each value what the one before does not tell (Prais and Winsten)."""
    told = [rho * value for value in values]
    return [values[0] * sqrt(1 - rho * rho), *map(sub, values[1:], told)]


def _independent(columns: Iterable[list[float]]) -> list[list[float]]:
    """Take from each column what those before it hold (Gram and Schmidt)."""
    kept: list[list[float]] = []
    for column in columns:
        for other in kept:
            share = _dot(column, other) / _dot(other, other)
            column = [a - share * b for a, b in zip(column, other, strict=True)]
        kept.append(column)
    return kept


def _regress(
    powers: Sequence[Sequence[float]], values: Sequence[float], rho: float
) -> tuple[float, float, list[float]]:
    """Fit powers of the time: the last one's factor, its error, the residuals."""
    columns = [_whiten(column, rho) for column in ([1.0] * len(values), *powers)]
    *_, last, residuals = _independent([*columns, _whiten(values, rho)])
    spread = _dot(last, last)
    factor = _dot(_whiten(values, rho), last) / spread
    freedom = len(values) - len(columns)
    error = sqrt(_dot(residuals, residuals) / freedom / spread)
    return factor, error, residuals


def fit(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Draw a line, with an error that allows for noise that remembers."""
    count = len(values)
    *_, residuals = _regress([times], values, 0.0)
    total = _dot(residuals, residuals)
    rho = 0.0
    if total > 1e-18 * _dot(values, values):  # else nothing but rounding
        rho = _dot(residuals, residuals[1:]) / total
        # What a line takes away, and one standard error: rather too much than too
        # little, for a random walk looks like a trend.
        rho += (2 + 4 * max(rho, 0.0)) / count + sqrt(max(1 - rho * rho, 0.0) / count)
        rho = min(max(rho, 0.0), 0.98)
    slope, error, _ = _regress([times], values, rho)
    rounding = _ROUNDING * sum(values) / count / times[-1]
    return Trend(slope, max(error, rounding), count - 2, rho)


def lasts(values: Sequence[float]) -> bool:
    """Whether each quarter stands above the one before, the last one clearly."""
    edges = [len(values) * quarter // 4 for quarter in range(5)]
    levels = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    steps: list[float] = list(map(sub, levels[1:], levels))
    return min(steps) > 0 and steps[-1] >= _LAST_QUARTER_MIN * sum(steps) / 3


def slackens(times: Sequence[float], values: Sequence[float], trend: Trend) -> bool:
    """Whether the growth bends down, as a cache that fills."""
    middle = times[-1] / 2
    centred = [time - middle for time in times]
    bend, error, _ = _regress([centred, [t * t for t in centred]], values, trend.rho)
    end_slope = trend.slope + 2 * bend * middle
    return (
        bend < -_BEND_SIGNIFICANT * error and end_slope < _END_SLOPE_MIN * trend.slope
    )


def quantile(freedom: int) -> float:
    """Give Student's two-sided 95 % quantile, within 2 % from 4 degrees on."""
    return 1.96 + 2.37 / freedom + 2.8 / freedom**2
