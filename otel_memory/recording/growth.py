# SPDX-License-Identifier: Apache-2.0
"""How much figures have grown since the first reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

_Key = TypeVar("_Key")


class GrowthSeries(Generic[_Key]):
    """Readings of many figures, of which only the first and the last are kept.

    What is not in the first reading was nothing then: so figures that are split in
    several ways, such as by span and by line, grow by the same.
    """

    def __init__(self) -> None:
        self.last: Mapping[_Key, int | None] = {}
        self._first: Mapping[_Key, int | None] = {}
        self._readings = 0

    def add(self, figures: Mapping[_Key, int | None]) -> None:
        """Take the next reading; None is a figure that was not measured."""
        if self._readings == 0:
            self._first = figures
        self.last = figures
        self._readings += 1

    def growth(self, key: _Key) -> int | None:
        """Give last minus first; None after one reading, or if it is gone."""
        first, last = self._first.get(key, 0), self.last.get(key)
        # One reading alone says nothing about growth.
        if self._readings < 2 or first is None or last is None:
            return None
        return last - first
