# SPDX-License-Identifier: Apache-2.0
"""The heap profiles of one process so far: the last, and what has grown since."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from otel_memory.recording.growth import GrowthSeries
from otel_memory.recording.profile import PairFigures, PairKey, Profile, Stack
from otel_memory.sites import Frame, package_of, short_file, site_of

# A last profile lists more stacks than those before it. Growth is that of as many
# as all of them list, or what was merely not listed before would seem to have grown.
_STACKS_COMPARED_MAX = 200

_Key = TypeVar("_Key")


class SiteKey(NamedTuple):
    """One line of source, for one span name under one entry."""

    span: str
    entry: str
    site: Frame


class ProfileSeries:
    """The profiles of one process so far.

    Args:
        directory: Where the command was run; files below it are shown relative.

    Attributes:
        last: The newest profile.
        is_final: Whether one was the process's last.
        pairs: The newest profile's pairs.
        stacks_by_pair: Its stacks.
        stacks_by_site: Its stacks.
        stacks_by_package: Its stacks.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.last: Profile | None = None
        self.is_final = False
        self.pairs: dict[PairKey, PairFigures] = {}
        self.stacks_by_pair: dict[PairKey, list[Stack]] = {}
        self.stacks_by_site: dict[SiteKey, list[Stack]] = {}
        self.stacks_by_package: dict[str, list[Stack]] = {}
        self._pair_growth = GrowthSeries[PairKey]()
        self._site_growth = GrowthSeries[SiteKey]()
        self._package_growth = GrowthSeries[str]()

    def add(self, profile: Profile) -> None:
        """Take the next profile."""
        self.last = profile
        self.is_final = self.is_final or profile.is_final
        self.pairs = profile.pairs
        self.stacks_by_pair = _group(profile.stacks, lambda stack: stack.pair)
        self.stacks_by_site = _group(profile.stacks, self._site_of)
        self.stacks_by_package = _group(profile.stacks, _package_of)
        self._pair_growth.add(
            {key: figures.live_bytes for key, figures in profile.pairs.items()}
        )
        compared = heapq.nlargest(
            _STACKS_COMPARED_MAX, profile.stacks, key=lambda stack: stack.live_bytes
        )
        self._site_growth.add(_bytes_by(compared, self._site_of))
        self._package_growth.add(_bytes_by(compared, _package_of))

    def pair_growth_bytes(self, key: PairKey) -> int | None:
        """Give the growth since the first profile; None if there is no other."""
        return self._pair_growth.growth(key)

    def site_growth_bytes(self, key: SiteKey) -> int | None:
        """Give the growth since the first profile; None if there is no other."""
        return self._site_growth.growth(key)

    def package_growth_bytes(self, package: str) -> int | None:
        """Give the growth since the first profile; None if there is no other."""
        return self._package_growth.growth(package)

    def _site_of(self, stack: Stack) -> SiteKey:
        site = site_of(stack.frames)
        site = site._replace(file=short_file(site.file, self._directory))
        return SiteKey(stack.pair.span, stack.pair.entry, site)


def _package_of(stack: Stack) -> str:
    return package_of(stack.frames)


def _group(
    stacks: Iterable[Stack], key_of: Callable[[Stack], _Key]
) -> dict[_Key, list[Stack]]:
    groups: dict[_Key, list[Stack]] = defaultdict(list)
    for stack in stacks:
        groups[key_of(stack)].append(stack)
    return dict(groups)


def _bytes_by(
    stacks: Iterable[Stack], key_of: Callable[[Stack], _Key]
) -> dict[_Key, int]:
    return {
        key: sum(stack.live_bytes for stack in those)
        for key, those in _group(stacks, key_of).items()
    }
