# SPDX-License-Identifier: Apache-2.0
"""Whether a span had the process to itself, where there is no counting core.

A span that is never ended is over when nobody has it any more.
"""

from __future__ import annotations

import gc

from _fork import fork_and_wait
from _tools import EXCLUSIVE, run_case, start, telemetry
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from otel_memory import MemoryInstrumentor


def exclusive(tracer, name="GET /"):
    """Make an entry span; tell whether it had the process to itself."""
    span = tracer.start_span(name)
    span.end()
    return span.attributes[EXCLUSIVE]


def case_spans_that_overlap_share_the_process():
    tracer = start(heap="off")
    assert exclusive(tracer)
    with tracer.start_as_current_span("entry") as entry:
        with tracer.start_as_current_span("inner") as inner:
            pass
        assert inner.attributes[EXCLUSIVE]
    assert entry.attributes[EXCLUSIVE]
    first, second = tracer.start_span("first"), tracer.start_span("second")
    first.end()
    assert not exclusive(tracer)
    second.end()
    assert not first.attributes[EXCLUSIVE]
    assert not second.attributes[EXCLUSIVE]
    assert exclusive(tracer)


def case_an_abandoned_span_is_over():
    tracer = start(heap="off")
    span = tracer.start_span("abandoned")
    assert not exclusive(tracer)
    del span
    assert exclusive(tracer)
    cycle = [tracer.start_span("abandoned in a cycle")]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert exclusive(tracer)


def case_an_ended_span_is_over_once():
    tracer = start(heap="off")
    span = tracer.start_span("ended")
    span.end()
    assert exclusive(tracer)
    other = tracer.start_span("other")
    del span
    assert not exclusive(tracer)
    other.end()
    assert exclusive(tracer)


class BeginsOne(SpanProcessor):
    """Begins a span of its own where one ends, as some exporters do."""

    begun = None

    def on_end(self, span):
        if self.begun is None:
            self.begun = trace.get_tracer("processor").start_span("by the processor")


def case_a_span_is_over_when_processors_see_its_end():
    tracer = start(heap="off")
    processor = BeginsOne()
    telemetry.provider.add_span_processor(processor)
    tracer.start_span("ends").end()
    processor.begun.end()
    assert processor.begun.attributes[EXCLUSIVE]


def _child(tracer, inherited):
    assert exclusive(tracer)
    inherited.end()
    # It began in another process: what it gained is not this one's.
    assert not inherited.attributes[EXCLUSIVE]
    assert exclusive(tracer)
    first = tracer.start_span("first")
    assert not exclusive(tracer)
    first.end()
    assert exclusive(tracer)


def case_a_fork_inside_a_span():
    tracer = start(heap="off")
    span = tracer.start_span("startup")
    fork_and_wait(_child, tracer, span)
    assert not exclusive(tracer)
    span.end()
    assert exclusive(tracer)
    # A child's child, of a child in which one was open.
    other = tracer.start_span("other")
    fork_and_wait(lambda: fork_and_wait(_child, tracer, other))


def case_a_span_that_is_open_when_we_leave():
    tracer = start(heap="off")
    kept = tracer.start_span("ends unseen")
    MemoryInstrumentor().uninstrument()
    kept.end()
    MemoryInstrumentor().instrument(heap="off")
    assert exclusive(tracer)


if __name__ == "__main__":
    run_case()
