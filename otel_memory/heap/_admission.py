# SPDX-License-Identifier: Apache-2.0
"""Which rows have series of their own, where span names may explode.

A scanner's raw URLs must not become thousands of series, and a set that rotates
would overflow the SDK's 2,000 for good. So a name is admitted once it matters, keeps
its series from then on, and the rest is one row, `(other)`.
"""

from __future__ import annotations

from collections.abc import Iterable

from otel_memory import semconv
from otel_memory.heap._rows import Pair

LIVE_BYTES_MIN = 1024 * 1024
COMPLETIONS_SHARE_MIN = 0.01
# Before so many completions a share says nothing: the first of two is 50 %.
COMPLETIONS_MIN = 20
RETIRE_ABOVE = 1000
"""How many rows that were not admitted are kept apart before they are summed."""
REFUSED_MAX = 1000
"""How many names that were refused are told apart; more than that says no more."""

_SORTS_OF_NAMES = (semconv.SORT_SPAN, semconv.SORT_AFTER_END)
_Key = tuple[str, str, str, str]


def _key(pair: Pair) -> _Key:
    return (pair.sort, pair.name, pair.kind, pair.entry)


class Admission:
    """Decides which rows are shown, and sums the rest.

    Not safe for threads; its caller is.

    Args:
        max_names: How many names, of spans and entries, are ever admitted in a
            process's life. May be set anew; what is admitted stays.
    """

    def __init__(self, max_names: int) -> None:
        self.max_names = max_names
        self._admitted: dict[str, None] = {}
        # Hashes, for names may be long: raw URLs are what is refused.
        self._refused: set[int] = set()
        # What an admitted row had been counted under (other) before, so that no
        # counter ever falls.
        self._counted_as_other: dict[_Key, tuple[int, int]] = {}
        self._others_before: dict[_Key, tuple[int, int]] = {}

    @property
    def names_count(self) -> int:
        """How many names are admitted."""
        return len(self._admitted)

    @property
    def refused_count(self) -> int:
        """How many different names wanted in and found no room; stops at 1,000."""
        return len(self._refused)

    def knows(self, name: str) -> bool:
        """Whether this name is admitted."""
        return name in self._admitted

    def admit(self, pairs: Iterable[Pair]) -> tuple[list[Pair], list[Pair]]:
        """Split one reading.

        Returns:
            The rows to show, with `(other)` among them where there is one, and the
            rows that the source may sum up.
        """
        pairs = list(pairs)
        self.learn(pairs)
        shown, others = [], []
        for pair in pairs:
            if pair.sort == semconv.SORT_OTHER:
                others.append(pair)
            elif pair.sort not in _SORTS_OF_NAMES or self._is_admitted(pair):
                shown.append(self._without_others_share(pair))
            else:
                others.append(pair)
        if others or self._counted_as_other:
            shown.append(self._sum(others))
        self._others_before = {
            _key(pair): (pair.count, pair.allocated_bytes)
            for pair in others
            if pair.sort != semconv.SORT_OTHER
        }
        unadmitted = [pair for pair in others if pair.sort != semconv.SORT_OTHER]
        idle = [pair for pair in unadmitted if pair.live_bytes == 0]
        if len(unadmitted) <= RETIRE_ABOVE:
            return shown, []
        for pair in idle:
            self._others_before.pop(_key(pair))
        return shown, idle

    def _is_admitted(self, pair: Pair) -> bool:
        name = pair.name
        if pair.sort == semconv.SORT_AFTER_END:
            name = name.removesuffix(semconv.AFTER_END_SUFFIX)
        # Both: raw URLs as entries multiply the one name of the spans inside.
        return name in self._admitted and pair.entry in self._admitted

    def learn(self, pairs: Iterable[Pair]) -> None:
        """Admit the names that matter in one reading, without showing anything."""
        pairs = [pair for pair in pairs if pair.sort == semconv.SORT_SPAN]
        total = sum(pair.count for pair in pairs)
        live: dict[str, int] = {}
        count: dict[str, int] = {}
        for pair in pairs:
            for name in {pair.name, pair.entry}:
                live[name] = live.get(name, 0) + pair.live_bytes
                count[name] = count.get(name, 0) + pair.count
        few = len(live) <= self.max_names // 4
        for name in sorted(live, key=lambda name: (-live[name], -count[name])):
            if name in self._admitted:
                continue
            matters = live[name] >= LIVE_BYTES_MIN or (
                total >= COMPLETIONS_MIN
                and count[name] >= COMPLETIONS_SHARE_MIN * total
            )
            # As long as names are few, all of them are welcome.
            if matters or few:
                if len(self._admitted) < self.max_names:
                    self._admitted[name] = None
                    self._refused.discard(hash(name))
                elif len(self._refused) < REFUSED_MAX:
                    self._refused.add(hash(name))

    def _without_others_share(self, pair: Pair) -> Pair:
        key = _key(pair)
        if key in self._others_before:
            self._counted_as_other[key] = self._others_before.pop(key)
        count, allocated = self._counted_as_other.get(key, (0, 0))
        return pair._replace(
            count=pair.count - count, allocated_bytes=pair.allocated_bytes - allocated
        )

    def _sum(self, others: list[Pair]) -> Pair:
        moved = self._counted_as_other.values()
        return Pair(
            semconv.SORT_OTHER,
            semconv.ROW_OTHER,
            semconv.NO_SPAN_KIND,
            semconv.ROW_OTHER,
            sum(pair.count for pair in others) + sum(count for count, _ in moved),
            sum(pair.allocated_bytes for pair in others)
            + sum(allocated for _, allocated in moved),
            max((pair.peak_bytes for pair in others), default=0),
            sum(pair.live_bytes for pair in others),
            sum(pair.live_samples for pair in others),
        )
