# SPDX-License-Identifier: Apache-2.0
"""How much figures have grown since each of them was first seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key")


class GrowthSeries(Generic[_Key]):
    """Readings of many figures, of which only the first and the last are kept."""

    def __init__(self) -> None:
        self.last: Mapping[_Key, int] = {}
        self._first: dict[_Key, int] = {}
        self._seen_again: set[_Key] = set()

    def add(self, figures: Mapping[_Key, int]) -> None:
        """Take the next reading."""
        self.last = figures
        for key, figure in figures.items():
            if key in self._first:
                self._seen_again.add(key)
            else:
                self._first[key] = figure

    def growth(self, key: _Key) -> int | None:
        """Give last minus first; None if it was seen once, or is gone."""
        # One reading alone says nothing about growth.
        if key not in self._seen_again or key not in self.last:
            return None
        return self.last[key] - self._first[key]
