# SPDX-License-Identifier: Apache-2.0
"""What the exports of the live heap have in common.

The stacks of a profile are made complete, so that an export adds up to what the
tables say, and whatever a recording may hold is brought into the ranges of protobuf.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from otel_memory.recording.profile import PairKey, Profile, Stack
from otel_memory.semconv import SORT_GC
from otel_memory.sites import NATIVE, Frame

OTHER_STACKS = Frame("(other stacks)", None, None)
"""Stands for what a pair holds beyond the stacks that are listed."""

TYPE_SPACE = ("inuse_space", "bytes")
TYPE_SAMPLES = ("samples", "count")
TYPE_PERIOD = ("space", "bytes")
"""Types and units, in the words that readers of heap profiles know."""

COMMENT = "Live heap by span, estimated from samples by otel-memory."

_INT64_MAX = 2**63 - 1
# No frames of code, and shown by their names alone.
_STAND_INS = frozenset({NATIVE, OTHER_STACKS})

_Key = TypeVar("_Key", bound=Hashable)


class Table(Generic[_Key]):
    """Gives each key a number, in the order of their coming.

    Args:
        first: The key that gets 0.
    """

    def __init__(self, first: _Key) -> None:
        self._numbers = {first: 0}

    def number(self, key: _Key) -> int:
        """Look up a key's number; a new key gets the next one."""
        return self._numbers.setdefault(key, len(self._numbers))

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._numbers)


class Source(NamedTuple):
    """What a frame says, in the words of the formats.

    Attributes:
        function: Its name.
        file: Its path; empty where there is no code.
        line: Its line; 0 where unknown.
    """

    function: str
    file: str
    line: int


def source_of(frame: Frame) -> Source:
    """Read a frame; a nameless one is called by its file."""
    file = "" if frame in _STAND_INS else frame.file
    return Source(frame.function or frame.file or "?", file, count(frame.line))


def complete_stacks(profile: Profile) -> Iterator[Stack]:
    """Give the stacks, and one for each pair that holds more than they tell.

    Every stack has a frame, and none is empty: what has neither bytes nor samples is
    left out.
    """
    listed_bytes: dict[PairKey, int] = defaultdict(int)
    listed_samples: dict[PairKey, int] = defaultdict(int)
    for stack in profile.stacks:
        # Full collections free what others bore: that row holds nothing.
        if stack.pair.sort == SORT_GC or not (stack.live_bytes or stack.samples):
            continue
        listed_bytes[stack.pair] += stack.live_bytes
        listed_samples[stack.pair] += stack.samples
        yield stack if stack.frames else replace(stack, frames=(NATIVE,))
    for pair, figures in profile.pairs.items():
        more_bytes = (figures.live_bytes or 0) - listed_bytes[pair]
        more_samples = (figures.live_samples or 0) - listed_samples[pair]
        if pair.sort != SORT_GC and more_bytes > 0:
            yield Stack(pair, (OTHER_STACKS,), more_bytes, max(more_samples, 0))


def utf8(text: str) -> str:
    r"""Make a text writable: what stands for undecodable bytes becomes `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def count(value: float | None) -> int:
    """Bring a number into the range of counts; 0 where it is unknown."""
    if value is None or value != value:
        return 0
    return round(min(max(value, 0), _INT64_MAX))


def nanoseconds(seconds: float | None) -> int:
    """Convert a time; 0, which the formats take for unset, where it is unknown."""
    return count(None if seconds is None else seconds * 1e9)
