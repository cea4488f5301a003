# SPDX-License-Identifier: Apache-2.0
"""Publish the documented metrics and events with known figures, by hand.

Stands in for the instrumentor, so that what the command line makes of figures is
tested against figures that are known. The first argument says how to end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger, get_logger_provider
from opentelemetry.metrics import CallbackOptions, Observation

from otel_memory import semconv

MIB = 1024**2
readings = 1

PAIRS = (
    # span, kind, entry, sort, count, allocated, live at first, live later, peak
    ("get_product_list", "INTERNAL", "GET /recommend", "span", 400, 900, 20, 119, 5),
    ("GET /recommend", "SERVER", "GET /recommend", "span", 400, 100, 1, 1, 9),
    ("GET /recommend (after end)", "", "GET /recommend", "after-end", 0, 3, 2, 2, 0),
    ("(no span)", "", "(no span)", "no-span", 0, 30, 12, 12, 0),
    ("(gc)", "", "(gc)", "gc", 0, 0, 0, 0, 0),
)
if "many" in sys.argv:
    step = ("INTERNAL", "GET /recommend", "span", 1, 1, 1, 1, 1)
    PAIRS += tuple((f"step {number}", *step) for number in range(9))
FIELDS = {
    semconv.SPAN_COUNT: lambda pair: pair[4],
    semconv.SPAN_ALLOCATED: lambda pair: pair[5] * MIB,
    semconv.SPAN_LIVE: lambda pair: pair[6 if readings < 2 else 7] * MIB,
    semconv.SPAN_PEAK: lambda pair: pair[8] * MIB,
}
PLAIN = {
    semconv.PROCESS_RSS: lambda: (100 + readings) * MIB,
    semconv.PROCESS_PEAK: lambda: 300 * MIB,
    semconv.LIMIT: lambda: 512 * MIB,
}


def rows(field: Callable[[tuple], int]) -> Callable[[CallbackOptions], Iterable]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        for pair in PAIRS:
            names = dict(zip(semconv.SPAN_ROW_ATTRIBUTES, pair[:4], strict=True))
            yield Observation(field(pair), names)

    return observe


def plain(figure: Callable[[], int]) -> Callable[[CallbackOptions], Iterable]:
    return lambda options: [Observation(figure())]


def source(options: CallbackOptions) -> Iterable[Observation]:
    global readings
    readings += 1  # the others of this reading were asked before
    names = dict(zip(semconv.HEAP_SOURCE.attributes, SOURCE, strict=True))
    yield Observation(1, names)


SOURCE = ("native", "", False)
if "off" in sys.argv:
    SOURCE = ("off", "no compiler was found", False)

meter = metrics.get_meter(semconv.SCOPE_NAME)


def register(metric: semconv.Metric, callback: Callable) -> None:
    create = getattr(meter, f"create_{metric.kind.value}")
    create(metric.name, [callback], unit=metric.unit)


for metric, figure in PLAIN.items():
    register(metric, plain(figure))
if "off" not in sys.argv:
    for metric, field in FIELDS.items():
        register(metric, rows(field))
# It counts the readings, so it comes last: one that falls in between, by the
# reader's own clock, has the first figures, and is not the first that has all.
register(semconv.HEAP_SOURCE, source)


def profile(final: bool) -> None:
    here = os.path.abspath(__file__)
    body = {
        "schema": 1,
        "frames": [[json.__file__, 299, "load"], [here, 41, "get_product_list"]],
        "pairs": [
            {
                "sort": sort,
                "span": span,
                "kind": kind,
                "entry": entry,
                "live_samples": live,
            }
            for span, kind, entry, sort, *_, live, _peak in PAIRS
        ],
        "stacks": [
            {
                "sort": "span",
                "span": "get_product_list",
                "entry": "GET /recommend",
                "frames": [0, 1],
                "live_bytes": (119 if final else 19) * MIB,
                "samples": 119,
            }
        ],
    }
    get_logger(semconv.SCOPE_NAME).emit(
        event_name=semconv.EVENT_HEAP_PROFILE,
        body=json.dumps(body),
        attributes={semconv.ATTR_PROFILE_FINAL: final},
    )
    get_logger_provider().force_flush()


def read_metrics(times: int) -> None:
    """Make the reader report, in place of waiting for its interval."""
    for _ in range(times):
        metrics.get_meter_provider().force_flush()


with trace.get_tracer(__name__).start_as_current_span("a span"):
    read_metrics(1)
profile(final=False)
read_metrics(2)
print("out of the application")
print("err of the application", file=sys.stderr)
if "fork" in sys.argv:
    child = os.fork()
    if child == 0:
        read_metrics(2)
        profile(final=True)
        os._exit(0)
    os.waitpid(child, 0)
if "wait" in sys.argv:
    print("ready", flush=True)
    time.sleep(600)
if "killed" in sys.argv:
    os._exit(9)
profile(final=True)
sys.exit(3 if "three" in sys.argv else 0)
