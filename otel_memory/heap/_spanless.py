# SPDX-License-Identifier: Apache-2.0
"""What sources that know no spans have to say of them: nothing."""

from __future__ import annotations

from otel_memory.heap._pauses import Pauses
from otel_memory.heap._rows import Collections, Entry, Pair, SamplerHealth


class SpanlessSource:
    """No rows, no sampler and no entry spans; collections are timed in Python."""

    def __init__(self) -> None:
        self._pauses = Pauses()

    def pairs(self) -> list[Pair]:
        """None: what it sees belongs to no span."""
        return []

    def retire(self, pairs: list[Pair]) -> None:
        """Nothing to do."""

    def health(self) -> SamplerHealth | None:
        """No sampler."""
        return None

    def completed(self) -> int | None:
        """Unknown."""
        return None

    def collections(self) -> list[Collections]:
        """How often and how long; not what they freed."""
        return self._pauses.collections()

    def take_entries(self) -> list[Entry]:
        """None."""
        return []

    def entries_dropped(self) -> int:
        """None."""
        return 0

    def close(self) -> None:
        """Time no collections any more."""
        self._pauses.close()
