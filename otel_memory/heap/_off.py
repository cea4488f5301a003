# SPDX-License-Identifier: Apache-2.0
"""The source that knows nothing, and says why."""

from __future__ import annotations

from otel_memory.heap._pauses import Pauses
from otel_memory.heap._rows import Collections, Entry, Pair, SampledStack, SamplerHealth


class OffSource:
    """No heap figures."""

    name = "off"
    native_covered = False

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self._pauses = Pauses()

    def usage_bytes(self) -> int | None:
        """Unknown."""
        return None

    def pairs(self) -> list[Pair]:
        """None."""
        return []

    def retire(self, pairs: list[Pair]) -> None:
        """Nothing to do."""

    def stacks(self, limit: int) -> list[SampledStack]:
        """None."""
        return []

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

    def check(self) -> None:
        """Nothing can break."""

    def close(self) -> None:
        """Time no collections any more."""
        self._pauses.close()
