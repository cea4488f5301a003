# SPDX-License-Identifier: Apache-2.0
"""Greenlets of one thread take turns; each span shows its own greenlet's bytes."""

from __future__ import annotations

import contextvars

from gevent import monkey

monkey.patch_all()

import gevent  # noqa: E402 - what comes later is patched
import gevent.event  # noqa: E402
import greenlet  # noqa: E402
from _accuracy import (  # noqa: E402
    EMPTY_SPAN_BYTES,
    STEP_BYTES,
    Expected,
    block,
    check,
    expected_of,
    plan_of,
    run,
)
from _tools import start, telemetry  # noqa: E402
from opentelemetry.sdk.trace import SpanProcessor  # noqa: E402

GREENLETS = 50
SWITCH_BYTES = 1_600
"""A greenlet's stack is kept on the heap while another one has the C stack."""
SWITCH_CHURN_BYTES = 4_000

kept = []


def work(tracer, name, plan):
    blocks = []
    with tracer.start_as_current_span(name):
        for gives_back in plan:
            blocks.append(block())
            gevent.sleep(0)
            if gives_back:
                blocks.pop()
    kept.append(blocks)


def case_interleaved_greenlets():
    tracer = start()
    plans = [plan_of(i) for i in range(GREENLETS)]
    gevent.joinall(
        [
            gevent.spawn(work, tracer, f"greenlet {i}", plan)
            for i, plan in enumerate(plans)
        ],
        raise_error=True,
    )
    for i, plan in enumerate(plans):
        switches = len(plan) + 1
        check(
            f"greenlet {i}",
            expected_of(plan),
            slack=EMPTY_SPAN_BYTES + SWITCH_BYTES * switches,
            churn=EMPTY_SPAN_BYTES + SWITCH_CHURN_BYTES * switches,
        )


def case_frees_right_after_a_switch():
    tracer = start()
    large_bytes = 60_000_000

    def one(name):
        with tracer.start_as_current_span(name):
            large = bytes(large_bytes)
            gevent.sleep(0)
            del large

    greenlets = [gevent.spawn(one, f"greenlet {i}") for i in range(3)]
    gevent.joinall(greenlets, raise_error=True)
    moved = EMPTY_SPAN_BYTES + 2 * SWITCH_BYTES
    for i in range(3):
        check(f"greenlet {i}", Expected(0, large_bytes, large_bytes), slack=moved)


def case_a_waiting_greenlet_shows_only_its_own_switches():
    tracer = start()
    steps = 300
    done = gevent.event.Event()

    def waits():
        with tracer.start_as_current_span("waits"):
            done.wait()

    def allocates():
        with tracer.start_as_current_span("allocates"):
            for _ in range(steps):
                kept.append(block())
                gevent.sleep(0)
        done.set()

    greenlets = [gevent.spawn(waits), gevent.spawn(allocates)]
    gevent.joinall(greenlets, raise_error=True)
    check("waits", Expected(0, 0, 0), slack=EMPTY_SPAN_BYTES + 2 * SWITCH_BYTES)
    took = STEP_BYTES * steps
    check("allocates", Expected(took, took, took), slack=SWITCH_BYTES * steps)


class SwitchesTo(SpanProcessor):
    """As an exporter does that waits for a socket of gevent's."""

    other = None

    def on_end(self, span):
        if not self.other.dead:
            self.other.switch()


def case_a_greenlet_that_runs_while_another_ends_a_span():
    """The span's end is (telemetry)'s in one greenlet, not in the others.

    Both have copies of one context, so only its identity tells them apart.
    """
    tracer = start()
    processor = SwitchesTo()
    telemetry.provider.add_span_processor(processor)
    took = 30_000_000
    main = greenlet.getcurrent()

    def works():
        main.switch()
        kept.append(bytes(took))

    with tracer.start_as_current_span("both"):
        processor.other = greenlet.greenlet(works)
        processor.other.gr_context = contextvars.copy_context()
        processor.other.switch()
        tracer.start_span("child").end()
        assert kept, "the greenlet has not run meanwhile"
    check("both", Expected(took, took, took), slack=10_000)


if __name__ == "__main__":
    run(globals())
