# SPDX-License-Identifier: Apache-2.0
"""Read the `otel_memory.heap.profile` events of a recording.

An event of another schema, or broken, is left out: the metrics still stand. So is a
stack that does not say what it holds. Whatever else is missing is None or empty.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from otel_memory.recording.numbers import mean, size, whole_number
from otel_memory.recording.otlp import Event, Json, dicts
from otel_memory.recording.summary import add_known
from otel_memory.semconv import (
    AGE_EDGES_SECONDS,
    ATTR_PROFILE_FINAL,
    ATTR_PROFILE_ON_DEMAND,
    EVENT_HEAP_PROFILE,
    PROFILE_SCHEMA,
)
from otel_memory.sites import Frame

_UNKNOWN_FRAME = Frame("?", None, None)
_TRACE_ID_DIGITS = 32
_SPAN_ID_DIGITS = 16


class PairKey(NamedTuple):
    """One span name under one entry; in the order of `SPAN_ROW_ATTRIBUTES`."""

    span: str
    kind: str
    entry: str
    sort: str


@dataclass(frozen=True)
class Stack:
    """What was born in spans of one pair with one stack, and is alive.

    Attributes:
        pair: The pair.
        frames: Innermost first, with full paths; empty where there was no Python.
        live_bytes: An estimate from the samples.
        samples: How many there are.
        age_seconds: Of the oldest.
        age_mean_seconds: Weighted by bytes.
        completed_mean: Spans of the pair that have completed since, weighted by bytes.
        live_bytes_by_age: Split at `AGE_EDGES_SECONDS`; empty where unknown.
        trace_id: Of the newest that was born in a recorded span.
        span_id: That span's.
    """

    pair: PairKey
    frames: tuple[Frame, ...]
    live_bytes: int
    samples: int
    age_seconds: int | None = None
    age_mean_seconds: float | None = None
    completed_mean: float | None = None
    live_bytes_by_age: tuple[int, ...] = ()
    trace_id: str | None = None
    span_id: str | None = None


@dataclass(frozen=True)
class PairFigures:
    """What one pair has done so far, and holds."""

    count: int | None = None
    allocated_bytes: int | None = None
    live_bytes: int | None = None
    live_samples: int | None = None


@dataclass(frozen=True)
class Profile:
    """One event: the live heap of one process at one moment.

    Attributes:
        pid: The process.
        time_seconds: When, in seconds since the epoch.
        is_final: Whether the process ended then.
        rate_bytes: Bytes between two samples on average; None without a sampler.
        pairs: All pairs.
        stacks: The largest stacks, which may be less than the pairs hold.
        is_on_demand: Whether it was asked for, of a process that went on.
    """

    pid: int | None
    time_seconds: float | None
    is_final: bool
    rate_bytes: float | None
    pairs: dict[PairKey, PairFigures]
    stacks: tuple[Stack, ...]
    is_on_demand: bool = False


def read_profile(event: Event) -> Profile | None:
    """Read one log event; None if it is no profile that can be read."""
    if event.name != EVENT_HEAP_PROFILE or not isinstance(event.body, str):
        return None
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("schema") != PROFILE_SCHEMA:
        return None
    return Profile(
        pid=event.pid,
        time_seconds=event.time_seconds,
        is_final=event.attributes.get(ATTR_PROFILE_FINAL) is True,
        rate_bytes=mean(body.get("rate_bytes")) or None,
        pairs=_read_pairs(body),
        stacks=_read_stacks(body),
        is_on_demand=event.attributes.get(ATTR_PROFILE_ON_DEMAND) is True,
    )


def _pair_key(row: Mapping[str, Any]) -> PairKey:
    return PairKey(*(str(row.get(name) or "") for name in PairKey._fields))


def _read_pairs(body: Mapping[str, Any]) -> dict[PairKey, PairFigures]:
    rows: dict[PairKey, list[Json]] = defaultdict(list)
    for row in dicts(body, "pairs"):
        rows[_pair_key(row)].append(row)
    return {
        key: PairFigures(
            *(
                add_known(size(row.get(figure.name)) for row in those)
                for figure in fields(PairFigures)
            )
        )
        for key, those in rows.items()
    }


def _read_stacks(body: Mapping[str, Any]) -> tuple[Stack, ...]:
    frames = _read_frames(body.get("frames"))
    stacks = (_read_stack(row, frames) for row in dicts(body, "stacks"))
    return tuple(stack for stack in stacks if stack is not None)


def _read_stack(row: Mapping[str, Any], frames: list[Frame]) -> Stack | None:
    live_bytes, samples = size(row.get("live_bytes")), size(row.get("samples"))
    if live_bytes is None or samples is None:
        return None
    indices = row.get("frames")
    return Stack(
        pair=_pair_key(row),
        frames=tuple(
            frames[index]
            for index in (indices if isinstance(indices, list) else ())
            if isinstance(index, int) and 0 <= index < len(frames)
        ),
        live_bytes=live_bytes,
        samples=samples,
        age_seconds=size(row.get("age_seconds")),
        age_mean_seconds=mean(row.get("age_mean_seconds")),
        completed_mean=mean(row.get("completed_mean")),
        live_bytes_by_age=_read_by_age(row.get("live_bytes_by_age")),
        trace_id=_read_id(row.get("trace_id"), _TRACE_ID_DIGITS),
        span_id=_read_id(row.get("span_id"), _SPAN_ID_DIGITS),
    )


def _read_by_age(values: Any) -> tuple[int, ...]:
    read = [size(value) for value in (values if isinstance(values, list) else ())]
    known = tuple(value for value in read if value is not None)
    # A part of the split would be taken for the whole of it.
    is_whole = len(known) == len(read) == len(AGE_EDGES_SECONDS) + 1
    return known if is_whole else ()


def _read_id(value: Any, digits: int) -> str | None:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]+", value):
        return None
    return value.lower() if len(value) == digits and int(value, 16) else None


def _read_frames(frames: Any) -> list[Frame]:
    return [
        _read_frame(frame) for frame in (frames if isinstance(frames, list) else ())
    ]


def _read_frame(frame: Any) -> Frame:
    if not isinstance(frame, list) or len(frame) != 3:
        return _UNKNOWN_FRAME
    file, line, function = frame
    name = None if function is None else str(function)
    return Frame(str(file), whole_number(line), name)
