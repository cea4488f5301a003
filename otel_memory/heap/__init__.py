# SPDX-License-Identifier: Apache-2.0
"""Where heap figures come from.

`open_source` chooses: the counting core in C (`native`), Python's `tracemalloc`
(slow, process-wide, never chosen by itself) or `off`, with the reason. All answer
to the same small interface, `HeapSource`. Nothing here imports OpenTelemetry.
"""

from __future__ import annotations

from otel_memory.heap._choose import open_source
from otel_memory.heap._rows import (
    Collections,
    Entry,
    HeapSource,
    Pair,
    SampledStack,
    SamplerHealth,
)

__all__ = [
    "Collections",
    "Entry",
    "HeapSource",
    "Pair",
    "SampledStack",
    "SamplerHealth",
    "open_source",
]
