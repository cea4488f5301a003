# SPDX-License-Identifier: Apache-2.0
"""The verdict on the memory of one process; docs/verdict.md has the rule."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from otel_memory.leaks._judge import SIGNIFICANT, Judged, check, judge
from otel_memory.leaks._trends import HOUR, quantile
from otel_memory.semconv import LEAK_STATES
from otel_memory.units import MIB

STATES = LEAK_STATES
"""All states, the worst one last."""
NOT_ENOUGH_DATA, WARMING_UP, STEADY, GROWING, LEAKING = STATES

HORIZON_SECONDS = 1 * HOUR
"""Shorter series say nothing."""
WARM_UP_SECONDS = 2 * HOUR
"""Of a process's life; never judged."""
_JUDGED_SECONDS = (1.25 * HOUR, 6 * HOUR)  # at least, at most
# Without traffic only what outlasts a whole day and night is told from one.
_JUDGED_BLIND_SECONDS = (23 * HOUR, 24 * HOUR)

_BIN_SECONDS = 300.0

# Worth a ticket: the share, or the bytes where the process is large; never less than
# what a few arenas make.
_WORTH_FRACTION_PER_HOUR = 0.03
_WORTH_BYTES_PER_HOUR = (1 * MIB, 50 * MIB)
_WORTH_UNEXPLAINED = 2 / 3  # of it, once what traffic may explain is taken off

# In standard errors. More is asked of a short time, for a random walk has no more
# than a few turns in it.
_CRITICAL = 3.1
_CRITICAL_EXTRA_HOURS = 1.0
_CRITICAL_WIDER = 2.3  # floors over 15 minutes are few, and their errors generous


@dataclass(frozen=True)
class Assessment:
    """What the memory of one process does.

    Attributes:
        state: One of `STATES`.
        growth_bytes_per_hour: Of the floor, in the time that is judged.
        interval: Between which two the growth that has to be explained lies, in 95 of
            100 cases; the lower one leaves out all that traffic may explain.
        seconds_to_limit: Until the recent peak reaches the limit at this growth;
            None where there is no limit or no growth to speak of.
    """

    state: str
    growth_bytes_per_hour: float | None = None
    interval: tuple[float, float] | None = None
    seconds_to_limit: float | None = None


def assess(
    seconds: Sequence[float],
    used_bytes: Sequence[float],
    *,
    completed: Sequence[float] | None = None,
    limit_bytes: float | None = None,
) -> Assessment:
    """Judge the memory of one process.

    Samples need not be evenly spaced; gaps are left out. A call costs a few
    milliseconds for eight hours at ten seconds.

    Args:
        seconds: When each figure was taken, since the process started; increasing.
        used_bytes: The figure judged: resident anonymous memory, or the heap.
        completed: Spans completed by then. Without it, growth that lasts for less
            than a day is never called `leaking`: it may be a morning's traffic.
        limit_bytes: What the process may take.

    Raises:
        ValueError: Lengths differ, times do not increase, a figure is negative or
            not a number, or `completed` falls.
    """
    check(seconds, used_bytes, completed, limit_bytes)
    if not seconds or seconds[-1] - seconds[0] < HORIZON_SECONDS:
        return Assessment(NOT_ENOUGH_DATA)
    now = seconds[-1]
    least, most = _JUDGED_SECONDS if completed is not None else _JUDGED_BLIND_SECONDS
    begin = max(WARM_UP_SECONDS, now - most, seconds[0])
    is_young = now - begin < _JUDGED_SECONDS[0]
    if is_young:
        begin = max(seconds[0], now - max(HOUR / 2, (now - seconds[0]) / 2))
    bin_seconds = _BIN_SECONDS * ceil((now - begin) / _JUDGED_SECONDS[1])
    base, judged = judge(seconds, used_bytes, completed, begin, bin_seconds)
    if not judged:
        return Assessment(NOT_ENOUGH_DATA)

    low, high = _WORTH_BYTES_PER_HOUR
    # What is worth a ticket is not always measured to be: half of it will do.
    worth = max(low, min(high, _WORTH_FRACTION_PER_HOUR * base)) / 2
    hours = (now - begin) / HOUR
    leaking = [row for row in judged if _is_leak(row, worth, hours)]
    best = max(leaking or judged, key=lambda row: row.unexplained_ratio)
    trend = best.trend
    margin = trend.error * quantile(trend.freedom)
    state = STEADY
    if trend.ratio > SIGNIFICANT and trend.slope > worth:
        if is_young and now < WARM_UP_SECONDS + _JUDGED_SECONDS[0]:
            state = WARMING_UP
        elif leaking and not is_young and now - begin >= least:
            state = LEAKING
        elif trend.slope - best.explained + SIGNIFICANT * trend.error > worth:
            state = GROWING
    to_limit = None
    if limit_bytes is not None and state in (GROWING, LEAKING):
        recent = used_bytes[bisect_left(seconds, now - HOUR) :]
        to_limit = max(0.0, limit_bytes - max(recent)) / trend.slope * HOUR
    interval = (trend.slope - best.explained - margin, trend.slope + margin)
    return Assessment(state, trend.slope, interval, to_limit)


def _is_leak(row: Judged, worth: float, hours: float) -> bool:
    critical = _CRITICAL if row.width == 1 else _CRITICAL_WIDER
    return (
        row.goes_on
        and row.trend.slope > worth
        and row.trend.slope - row.explained > _WORTH_UNEXPLAINED * worth
        and row.unexplained_ratio > critical + _CRITICAL_EXTRA_HOURS / hours
    )
