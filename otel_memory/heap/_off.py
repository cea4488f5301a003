# SPDX-License-Identifier: Apache-2.0
"""The source that knows nothing, and says why."""

from __future__ import annotations

from otel_memory.heap._rows import Pair, SampledStack, SamplerHealth


class OffSource:
    """No heap figures."""

    name = "off"
    native_covered = False

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason

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

    def check(self) -> None:
        """Nothing can break."""

    def close(self) -> None:
        """Nothing to stop."""
