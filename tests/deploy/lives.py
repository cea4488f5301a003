# SPDX-License-Identifier: Apache-2.0
"""What one process of a fleet is: its name, its shape, and all that it may raise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .shapes import Collector, Curve, Process, flat, line, noise, restarted, summed

GROWTH = "OTelMemorySteadyGrowth"
FORECAST = "OTelMemoryLimitForecast"
SPAN_GROWTH = "OTelMemorySpanGrowth"
RESTART = "OTelMemoryOOMRestart"
NEAR, AT = "OTelMemoryNearLimit", "OTelMemoryAtLimit"
FAILURES = "OTelMemoryProfilerFailures"
LARGE = "OTelMemoryLargeRequest"
LOST = "OTelMemoryTelemetryLost"

NOISE = noise(4)
BASE = summed(flat(300), NOISE)
LEAK = summed(BASE, line(60))


@dataclass(frozen=True)
class Life:
    """One process of the fleet.

    Attributes:
        name: Its instance.
        process: Without a name.
        alerts: All that fire at any time.
        silent: Minutes at which none fires.
    """

    name: str
    process: Process | Collector
    alerts: Sequence[str] = ()
    silent: Sequence[int] = ()


def since(start: int) -> Curve:
    """Give the age of a process that was replaced under the same name."""
    return lambda minute: minute if minute < start else minute - start


def full(begin: int, minutes: int, level: float = 950) -> Curve:
    """Takes nearly all that there is for some minutes, and then as much as before."""
    return lambda minute: level if begin <= minute < begin + minutes else 400


def every(curve: Curve, minutes: int) -> Process:
    """Give a process that is replaced again and again."""
    return Process(
        memory=restarted(curve, every=minutes), age=restarted(float, every=minutes)
    )
