# SPDX-License-Identifier: Apache-2.0
"""Which pairs of span and entry bear what grows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from otel_memory.leaks._judge import SIGNIFICANT, check, judge
from otel_memory.leaks._trends import HOUR

_WARM_UP_SECONDS = 2 * HOUR
_READINGS_MIN = 12
_BINS = 16


@dataclass(frozen=True)
class Suspect:
    """A pair of span and entry whose live bytes grow.

    Attributes:
        span: The span's name.
        entry: The name of its local root.
        growth_bytes_per_hour: Of its live bytes after warm-up, less what the growth
            of its own traffic may explain.
        growth_bytes: What that makes in the time that is judged.
        bytes_per_completion: The same for each completed span; None where none is
            known to have completed.
        live_bytes: By the last reading.
        age_seconds: The mean age of the live bytes, if it was given.
    """

    span: str
    entry: str
    growth_bytes_per_hour: float
    growth_bytes: float
    bytes_per_completion: float | None
    live_bytes: float
    age_seconds: float | None = None


def suspects(
    live_by_pair: Mapping[tuple[str, str], Sequence[tuple[float, float]]],
    completed_by_pair: Mapping[tuple[str, str], Sequence[float]],
    age_by_pair: Mapping[tuple[str, str], float] | None = None,
) -> list[Suspect]:
    """Rank pairs of span and entry by the growth of their live bytes, fastest first.

    A ranking, not a verdict: it works on minutes as on hours, and says who bears the
    growth if there is any. The size of a pair does not matter. The first third of its
    readings, at most two hours, is left out as warm-up; twelve readings are the
    least.

    Args:
        live_by_pair: For each (span, entry), its readings: (seconds, live bytes),
            seconds increasing. One in five minutes is plenty.
        completed_by_pair: Completed spans at these readings, where known.
        age_by_pair: The mean age of the live bytes now, in seconds, where known. A
            pair whose bytes are younger than kept bytes would be is left out: its
            memory comes and goes.

    Raises:
        ValueError: As `assess`.
    """
    found = []
    for pair, readings in live_by_pair.items():
        seconds = [reading[0] for reading in readings]
        live = [reading[1] for reading in readings]
        completed = completed_by_pair.get(pair)
        check(seconds, live, completed, None)
        if len(seconds) < _READINGS_MIN:
            continue
        age_seconds = (age_by_pair or {}).get(pair)
        suspect = _suspect(pair, seconds, live, completed, age_seconds)
        if suspect is not None:
            found.append(suspect)
    return sorted(found, key=lambda s: (-s.growth_bytes_per_hour, s.span, s.entry))


def _suspect(
    pair: tuple[str, str],
    seconds: Sequence[float],
    live: Sequence[float],
    completed: Sequence[float] | None,
    age_seconds: float | None,
) -> Suspect | None:
    now = seconds[-1]
    begin = seconds[0] + min(_WARM_UP_SECONDS, (now - seconds[0]) / 3)
    _, judged = judge(seconds, live, completed, begin, (now - begin) / _BINS)
    judged = [row for row in judged if row.unexplained_ratio > SIGNIFICANT]
    if not judged:
        return None
    best = max(judged, key=lambda row: row.unexplained_ratio)
    growth = best.trend.slope - best.explained
    growth_bytes = growth * (now - begin) / HOUR
    # Bytes kept at an even pace are half as old, on average, as the time it took.
    if age_seconds is not None and (
        live[-1] * age_seconds < growth_bytes * (now - begin) / 4
    ):
        return None
    count = 0.0
    if completed is not None:
        count = completed[-1] - completed[bisect_left(seconds, begin)]
    per_completion = growth_bytes / count if count else None
    return Suspect(*pair, growth, growth_bytes, per_completion, live[-1], age_seconds)
