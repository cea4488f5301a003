# SPDX-License-Identifier: Apache-2.0
"""One series judged: how its floor grows, and how much of that traffic may explain."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice
from math import ceil, exp, isfinite
from operator import le, lt
from typing import NamedTuple

from otel_memory.leaks._trends import (
    HOUR,
    Trend,
    bins,
    fit,
    lasts,
    slackens,
    widen,
    without_steps,
)

FLOORS_OVER_BINS = (1, 3)
FLOORS_MIN = 6
SIGNIFICANT = 2.0
"""Standard errors that growth must be from nothing to be spoken of."""

# Memory that follows traffic grows by at most the share that traffic grows by.
_ELASTICITY_MAX = 1.1
_TRAFFIC_LAGS_SECONDS = (1200.0, 3600.0)
_TRAFFIC_SIGNIFICANT = 3.0
_TRAFFIC_MARGIN = 0.3  # standard errors


class Judged(NamedTuple):
    """What is made of the floors over one width of time.

    Attributes:
        trend: The line through them.
        explained: Slope that traffic may explain.
        goes_on: Whether the growth has lasted and does not slacken.
        width: Of the floors, in bins.
    """

    trend: Trend
    explained: float
    goes_on: bool
    width: int

    @property
    def unexplained_ratio(self) -> float:
        return self.trend._replace(slope=self.trend.slope - self.explained).ratio


def check(
    seconds: Sequence[float],
    used_bytes: Sequence[float],
    completed: Sequence[float] | None,
    limit_bytes: float | None,
) -> None:
    for name, values in (("used_bytes", used_bytes), ("completed", completed)):
        if values is None:
            continue
        if len(values) != len(seconds):
            raise ValueError(f"{name} has {len(values)} values, seconds {len(seconds)}")
        if not all(map(isfinite, values)) or min(values, default=0) < 0:
            raise ValueError(f"{name} holds what is negative or not a number")
    if not all(map(isfinite, seconds)) or not all(
        map(lt, seconds, islice(seconds, 1, None))
    ):
        raise ValueError("seconds must be numbers that increase")
    if completed is not None and not all(
        map(le, completed, islice(completed, 1, None))
    ):
        raise ValueError("completed falls")
    if limit_bytes is not None and not (isfinite(limit_bytes) and limit_bytes > 0):
        raise ValueError(f"limit_bytes is {limit_bytes!r}")


def judge(
    seconds: Sequence[float],
    used_bytes: Sequence[float],
    completed: Sequence[float] | None,
    begin: float,
    bin_seconds: float,
) -> tuple[float, list[Judged]]:
    """Give the level at the begin, and a judgement for each width of floors."""
    floors = {
        number: min(used_bytes[first:last])
        for number, first, last in bins(seconds, begin, bin_seconds)
    }
    if len(floors) < FLOORS_MIN:
        return 0.0, []
    numbers, values = list(floors), list(floors.values())
    base = sum(values[:3]) / 3
    values = without_steps(values)
    bin_hours = bin_seconds / HOUR
    explained: float | None = None
    rows = []
    for width in FLOORS_OVER_BINS:
        times, levels = widen(numbers, values, width, bin_hours)
        if len(levels) < FLOORS_MIN:
            break
        trend = fit(times, levels)
        if trend.ratio <= SIGNIFICANT:
            rows.append(Judged(trend, 0.0, False, width))
            continue
        if explained is None:
            growth = _traffic_growth(seconds, completed, begin, bin_seconds)
            explained = _ELASTICITY_MAX * growth * sum(values) / len(values)
        goes_on = lasts(levels) and not slackens(times, levels, trend)
        rows.append(Judged(trend, explained, goes_on, width))
    return base, rows


def _traffic_growth(
    seconds: Sequence[float],
    completed: Sequence[float] | None,
    begin: float,
    bin_seconds: float,
) -> float:
    """Growth of traffic that may show in memory, as a share of it per hour."""
    if completed is None:
        return 0.0
    rates = {}
    # From an hour earlier: what stays for a while shows the traffic of before.
    for number, first, last in bins(seconds, max(0.0, begin - HOUR), bin_seconds):
        span_seconds = seconds[last] - seconds[first]
        rates[number] = (completed[last] - completed[first]) / span_seconds
    numbers, plain = list(rates), list(rates.values())
    if len(plain) < FLOORS_MIN or sum(plain) <= 0:
        return 0.0
    hours = [(number - numbers[0]) * bin_seconds / HOUR for number in numbers]
    trend = fit(hours, plain)
    mean = sum(plain) / len(plain)
    most = (trend.slope + _TRAFFIC_MARGIN * trend.error) / mean
    start = bisect_left(numbers, ceil(begin / bin_seconds))
    for series in (
        _smooth(plain),
        *(_lag(plain, bin_seconds / lag) for lag in _TRAFFIC_LAGS_SECONDS),
    ):
        part = series[start:]
        if len(part) < FLOORS_MIN or sum(part) <= 0:
            continue
        trend = fit(hours[start:], part)
        if trend.ratio > _TRAFFIC_SIGNIFICANT:
            most = max(most, trend.slope * len(part) / sum(part))
    return max(0.0, most)


def _smooth(values: Sequence[float]) -> list[float]:
    """Take the mean of up to nine values around each."""
    reach = (min(4, i, len(values) - 1 - i) for i in range(len(values)))
    return [
        sum(values[i - near : i + near + 1]) / (2 * near + 1)
        for i, near in enumerate(reach)
    ]


def _lag(values: Sequence[float], share: float) -> list[float]:
    """Follow the values exponentially, as sessions follow the traffic."""
    keep = exp(-share)
    level = sum(values[:3]) / len(values[:3])
    lagged = []
    for value in values:
        level = keep * level + (1 - keep) * value
        lagged.append(level)
    return lagged
