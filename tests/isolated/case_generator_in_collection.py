# SPDX-License-Identifier: Apache-2.0
"""A generator that the collector closes amid a metric collection ends its span there.

A lock that is not re-entrant, or an instrument, on a span's path would hang; so every
place where the collector may start is tried.
"""

from __future__ import annotations

import faulthandler
import gc

from _tools import DELTA, core_pairs, metric_points, say, start, telemetry

faulthandler.dump_traceback_later(270, exit=True)
tracer = start()
metric_points()
gc.collect()
gc.freeze()  # a thousand collections would look at all that is imported


class Holder:
    """A cycle through a generator that has a span open."""

    def __init__(self, name):
        self.generator = self.stream(name)
        next(self.generator)

    def stream(self, name):
        # Not current: to detach in another place of the same context is an error
        # of the application, which the SDK logs.
        span = tracer.start_span(name)
        try:
            yield self
        finally:
            span.end()


def ended(name):
    return [s for s in telemetry.exporter.get_finished_spans() if s.name == name]


NAME = "stream"  # one row, or a collection would grow with each

inside = 0
position = 0
thresholds = gc.get_threshold()
while True:
    position += 1
    gc.disable()
    gc.collect()
    Holder(NAME)
    gc.set_threshold(gc.get_count()[0] + position, 1, 1)
    gc.enable()
    metric_points()
    gc.disable()
    gc.set_threshold(*thresholds)
    if ended(NAME):
        inside += 1
    elif position > 20:
        break  # beyond the last allocation of a collection
    gc.collect()
    (span,) = ended(NAME)
    assert DELTA in span.attributes, span.attributes
    telemetry.exporter.clear()
    assert position < 3000, "no end of places"
gc.collect()
say("positions", position, "ended inside", inside)
assert inside >= 20
assert core_pairs()[("span", NAME)].count == position
