# SPDX-License-Identifier: Apache-2.0
"""Holds memory in a span, more of it with each line on standard input."""

from __future__ import annotations

import os
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_memory import MemoryInstrumentor
from otel_memory.heap import _core

trace.set_tracer_provider(TracerProvider())
MemoryInstrumentor().instrument()
_core.set_sampling(True, rate_bytes=32 * 1024)
kept = []


def hold(name):
    with trace.get_tracer("app").start_as_current_span(name):
        kept.append([bytearray(10_000) for _ in range(2000)])


for _ in range(3):
    with trace.get_tracer("app").start_as_current_span("generous"):
        [bytearray(1_000_000) for _ in range(50)]
hold("holder")
print("ready", os.getpid(), flush=True)
for line in sys.stdin:
    hold(line.strip())
    print("held", flush=True)
