# SPDX-License-Identifier: Apache-2.0
"""A parent of 2,000 empty children has taken nothing itself."""

from __future__ import annotations

import sys
from functools import partial

from _tools import DELTA, core_pairs, say, start, telemetry
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

CHILDREN = 2000

PROCESSORS = {
    "none": None,
    "simple": SimpleSpanProcessor,
    # Room for all of them: where its thread waits for its turn, the SDK would warn.
    "batch": partial(BatchSpanProcessor, max_queue_size=5 * CHILDREN),
}

tracer = start(PROCESSORS[sys.argv[1]])
reader = SimpleSpanProcessor(telemetry.exporter)


def family():
    with tracer.start_as_current_span("parent") as parent:
        for _ in range(CHILDREN):
            with tracer.start_as_current_span("child"):
                pass
    return parent


def held():
    """The same with children that are started and ended by hand."""
    with tracer.start_as_current_span("by hand") as parent:
        for _ in range(CHILDREN):
            tracer.start_span("child").end()
    return parent


for make in (family, held):
    for _ in range(2):
        found = dict(make().attributes)
        say(make.__name__, found)
        assert abs(found[DELTA]) < 64 * 1024
telemetry_row = core_pairs()[("telemetry", "(telemetry)")]
say(telemetry_row)
assert telemetry_row.allocated > CHILDREN * 1000
