# SPDX-License-Identifier: Apache-2.0
"""Which spans carry attributes: by globs on their names, and by kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

from otel_memory import semconv

_CACHE_SIZE = 1024


class Glob:
    """One glob, the variable that it stands in, and whether it ever matched."""

    def __init__(self, variable: str, text: str) -> None:
        self.variable = variable
        self.text = text
        self.matched = False
        self._match = re.compile(translate(text)).match

    def matches(self, name: str) -> bool:
        """Tell whether the glob matches, and remember if it does."""
        found = self._match(name) is not None
        self.matched = self.matched or found
        return found


class SpanFilter:
    """Decides which spans carry attributes, by name and kind.

    May be called on any thread. Remembers answers, as many as its bound, and which
    globs have ever matched a name, so that one that matches nothing can be reported.
    """

    def __init__(
        self, included: Iterable[Glob], excluded: Iterable[Glob], kinds: Iterable[str]
    ) -> None:
        self._included = list(included)
        self._excluded = list(excluded)
        self._kinds = frozenset(kinds or semconv.SPAN_KINDS)
        self._answers: dict[str, bool] = {}

    def matches(self, name: str, kind: str) -> bool:
        """Tell whether a span of this name and kind (`SERVER`, ...) is meant."""
        answer = self._answers.get(name)
        if answer is None:
            if len(self._answers) >= _CACHE_SIZE:
                self._answers.clear()  # Names that explode must not hold memory.
            answer = self._answers[name] = self._judge(name)
        return answer and kind in self._kinds

    def _judge(self, name: str) -> bool:
        # Lists, not any(): every glob must see the name, to learn that it matches.
        included = [glob.matches(name) for glob in self._included]
        excluded = [glob.matches(name) for glob in self._excluded]
        return (any(included) or not included) and not any(excluded)

    def unmatched(self) -> list[str]:
        """List what has matched no span name so far, as "VARIABLE=glob"."""
        globs = [*self._included, *self._excluded]
        return [f"{glob.variable}={glob.text}" for glob in globs if not glob.matched]
