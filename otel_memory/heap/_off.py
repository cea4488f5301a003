# SPDX-License-Identifier: Apache-2.0
"""The source that knows nothing, and says why."""

from __future__ import annotations

from otel_memory.heap._rows import SampledStack
from otel_memory.heap._spanless import SpanlessSource


class OffSource(SpanlessSource):
    """No heap figures."""

    name = "off"
    native_covered = False

    def __init__(self, reason: str | None = None) -> None:
        super().__init__()
        self.reason = reason

    def usage_bytes(self) -> int | None:
        """Unknown."""
        return None

    def stacks(self, limit: int) -> list[SampledStack]:
        """None."""
        return []

    def check(self) -> None:
        """Nothing can break."""
