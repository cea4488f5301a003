# SPDX-License-Identifier: Apache-2.0
"""What a run's recording says, and the JSON contract made from it.

Figures are of the end of the run, summed over its processes. What was not measured
is None, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from otel_memory.semconv import LEAK_STATES

SCHEMA = 1

ENDED_CLEAN = "clean"
"""The process's last profile arrived: its figures are those of its end."""
ENDED_UNREPORTED = "unreported"
"""No last profile: killed, ended by `os._exit`, or still running."""
ENDED_NOT = "running"
"""The profile was asked for, of a process that went on."""

NOT_ENOUGH_DATA = LEAK_STATES[0]


@dataclass(frozen=True)
class Process:
    """One process of the run, with its own figures.

    Attributes:
        state: The verdict on it.
        growth_bytes_per_hour: Of its floor, by the verdict.
    """

    pid: int | None
    heap_source: str | None
    native_covered: bool | None
    rss_start_bytes: int | None
    rss_end_bytes: int | None
    rss_peak_bytes: int | None
    limit_bytes: int | None
    ended: str
    state: str = NOT_ENOUGH_DATA
    growth_bytes_per_hour: float | None = None


@dataclass(frozen=True)
class Row:
    """One span name (bytes are self) or one entry (bytes are inclusive).

    Ages are those of the stacks that the profile lists, weighted by bytes.
    """

    sort: str
    name: str
    kind: str
    count: int | None
    allocated_bytes: int | None
    peak_bytes_max: int | None
    live_bytes: int | None
    live_samples: int | None
    growth_bytes: int | None
    age_mean_seconds: float | None = None
    completed_mean: float | None = None
    live_bytes_by_age: tuple[int, ...] = ()


@dataclass(frozen=True)
class Site:
    """One line of source, for one span name under one entry.

    Attributes:
        age_seconds: Of its oldest sample.
        age_mean_seconds: Weighted by bytes, as all means.
        completed_mean: How many spans of its pair have completed since.
        live_bytes_by_age: Split at `AGE_EDGES_SECONDS`; empty where unknown.
        trace_id: Of a trace that allocated there, to begin with.
    """

    span: str
    entry: str
    file: str
    line: int | None
    function: str | None
    live_bytes: int | None
    samples: int | None
    growth_bytes: int | None
    age_seconds: int | None = None
    age_mean_seconds: float | None = None
    completed_mean: float | None = None
    live_bytes_by_age: tuple[int, ...] = ()
    trace_id: str | None = None


@dataclass(frozen=True)
class Package:
    """One top-level package, or the user's own code, and what it allocated.

    Attributes:
        import_bytes: The part that was born while modules were imported.
    """

    package: str
    live_bytes: int | None
    samples: int | None
    growth_bytes: int | None
    import_bytes: int | None


@dataclass(frozen=True)
class Suspect:
    """One pair that the verdict points at.

    Attributes:
        growth_bytes_per_hour: Of its live bytes after warm-up, less what its own
            traffic may explain; None where the pair merely holds most.
        live_bytes: What it holds, in the process that the verdict is on.
    """

    span: str
    entry: str
    growth_bytes_per_hour: float | None = None
    live_bytes: int | None = None


@dataclass(frozen=True)
class Verdict:
    """What the growth of memory means: of the worst process.

    Attributes:
        state: One of `LEAK_STATES`.
        growth_bytes_per_hour: Of the floor, in the time that was judged.
        interval: Between which two the growth lies that has to be explained.
        suspects: Who bears what grows, the fastest first; while there is not enough
            data, and nothing else is known, who holds most.
        seconds_to_limit: Until the limit is reached at this growth.
        pid: The worst process.
        processes: How many have this state.
    """

    state: str = NOT_ENOUGH_DATA
    growth_bytes_per_hour: float | None = None
    interval: tuple[float, float] | None = None
    suspects: tuple[Suspect, ...] = ()
    seconds_to_limit: float | None = None
    pid: int | None = None
    processes: int = 0


@dataclass(frozen=True)
class Alert:
    """One alert that a process raised, or took back.

    Attributes:
        time_seconds: Since the epoch.
        event: The event's name; `EVENT_RECOVERED` takes one back.
        kind: One of `ALERT_KINDS`.
        message: What it said.
        suspects: Who bore what grew then, as texts.
        top_sites: The lines that bore most of what was live then, as texts.
    """

    time_seconds: float | None
    pid: int | None
    event: str
    kind: str
    message: str
    suspects: tuple[str, ...]
    top_sites: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """All that is said about one run.

    Attributes:
        start_seconds: When the run began, in seconds since the epoch.
        alerts: The last ones, the oldest first.
        notes: What is wrong with the figures, in sentences; not in the JSON.
        heap_reasons: Why the heap source is what it is; not in the JSON.
    """

    command: tuple[str, ...]
    duration_seconds: float | None
    processes: tuple[Process, ...]
    spans: tuple[Row, ...]
    entries: tuple[Row, ...]
    sites: tuple[Site, ...]
    verdict: Verdict
    packages: tuple[Package, ...] = ()
    start_seconds: float | None = None
    alerts: tuple[Alert, ...] = ()
    notes: tuple[str, ...] = ()
    heap_reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Write the summary as the JSON contract has it."""
        contract = {"schema": SCHEMA, **_plain(self)}
        del contract["notes"], contract["heap_reasons"]
        return contract


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(element) for element in value]
    return value


def add_known(numbers: Iterable[int | None]) -> int | None:
    """Sum up what was measured; None if nothing was."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def largest_known(numbers: Iterable[int | None]) -> int | None:
    """Give the largest of what was measured; None if nothing was."""
    return max((number for number in numbers if number is not None), default=None)
