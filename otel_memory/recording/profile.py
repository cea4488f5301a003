# SPDX-License-Identifier: Apache-2.0
"""Read the `otel_memory.heap.profile` events of a recording.

An event of another schema, or broken, is left out: the metrics still stand.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from otel_memory.recording.otlp import Event, dicts, whole_number
from otel_memory.recording.sites import Frame, short_file, site_of
from otel_memory.semconv import (
    ATTR_PROFILE_FINAL,
    EVENT_HEAP_PROFILE,
    PROFILE_SCHEMA,
)


class PairKey(NamedTuple):
    """One span name under one entry; in the order of `SPAN_ROW_ATTRIBUTES`."""

    span: str
    kind: str
    entry: str
    sort: str


class SiteKey(NamedTuple):
    """One line of source, for one span name under one entry."""

    span: str
    entry: str
    site: Frame


class SiteFigures(NamedTuple):
    """What one site holds."""

    live_bytes: int
    samples: int


@dataclass(frozen=True)
class Profile:
    """One event: the live heap of one process at one moment."""

    is_final: bool
    samples: dict[PairKey, int]
    sites: dict[SiteKey, SiteFigures]


@dataclass
class ProfileSeries:
    """The events of one process so far."""

    is_final: bool = False
    samples: dict[PairKey, int] = field(default_factory=dict)
    last_sites: dict[SiteKey, SiteFigures] = field(default_factory=dict)
    _first_bytes: dict[SiteKey, int] = field(default_factory=dict)
    _readings: dict[SiteKey, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, profile: Profile) -> None:
        """Take the next event."""
        self.is_final = self.is_final or profile.is_final
        self.samples = profile.samples
        self.last_sites = profile.sites
        for key, site in profile.sites.items():
            self._first_bytes.setdefault(key, site.live_bytes)
            self._readings[key] += 1

    def site_growth_bytes(self, key: SiteKey) -> int | None:
        """Give the growth since the site was first seen; None if seen once."""
        if self._readings[key] < 2:
            return None
        return self.last_sites[key].live_bytes - self._first_bytes[key]


def read_profile(event: Event, directory: str) -> Profile | None:
    """Read one event.

    Args:
        event: Any log event.
        directory: Where the command was run; files below it are shown relative.

    Returns:
        The profile, or None if the event is none that can be read.
    """
    if event.name != EVENT_HEAP_PROFILE or not isinstance(event.body, str):
        return None
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("schema") != PROFILE_SCHEMA:
        return None
    return Profile(
        is_final=event.attributes.get(ATTR_PROFILE_FINAL) is True,
        samples=_read_samples(body),
        sites=_read_sites(body, directory),
    )


def _read_samples(body: Mapping[str, Any]) -> dict[PairKey, int]:
    samples: dict[PairKey, int] = defaultdict(int)
    for pair in dicts(body, "pairs"):
        number = whole_number(pair.get("live_samples"))
        if number is not None:
            key = PairKey(*(str(pair.get(name) or "") for name in PairKey._fields))
            samples[key] += number
    return dict(samples)


def _read_sites(body: Mapping[str, Any], directory: str) -> dict[SiteKey, SiteFigures]:
    frames = _read_frames(body.get("frames"))
    sites: dict[SiteKey, SiteFigures] = {}
    for stack in dicts(body, "stacks"):
        indices = stack.get("frames")
        stack_frames = [
            frames[index]
            for index in (indices if isinstance(indices, list) else ())
            if isinstance(index, int) and 0 <= index < len(frames)
        ]
        site = site_of(stack_frames)
        site = site._replace(file=short_file(site.file, directory))
        span, entry = str(stack.get("span") or ""), str(stack.get("entry") or "")
        key = SiteKey(span, entry, site)
        known = sites.get(key, SiteFigures(0, 0))
        sites[key] = SiteFigures(
            known.live_bytes + (whole_number(stack.get("live_bytes")) or 0),
            known.samples + (whole_number(stack.get("samples")) or 0),
        )
    return sites


def _read_frames(frames: Any) -> list[Frame]:
    read = []
    for frame in frames if isinstance(frames, list) else ():
        file, line, function = frame if _is_frame(frame) else ("?", None, None)
        name = None if function is None else str(function)
        read.append(Frame(str(file), whole_number(line), name))
    return read


def _is_frame(frame: Any) -> bool:
    return isinstance(frame, list) and len(frame) == 3
