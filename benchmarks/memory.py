# SPDX-License-Identifier: Apache-2.0
"""What this project takes of the memory that it watches.

Two tables:

* the resident memory of a process with OpenTelemetry's SDK, without us and with us:
  idle, and after many spans; and what one more open span takes, in bytes;
* our own memory as the core counts it, beside the bound that it states, while ten
  million blocks are sampled: the rate is fixed so low that every block is a sample.
  All lines should be alike.

Every figure comes from fresh processes, the first table's in shuffled rounds.

    python benchmarks/memory.py --rounds 5
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import defaultdict
from typing import NamedTuple

from _measure import MeasurementError, installed, machine, measure, shuffled

RSS = """
import gc, os
def rss_bytes():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
"""

# All of OpenTelemetry that we import stands in the process without us too.
PROCESS = """
import opentelemetry.instrumentation.instrumentor
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
_logs.set_logger_provider(LoggerProvider())
{instrument}
tracer = trace.get_tracer("benchmark")
idle = rss_bytes()
for number in range({count}):
    with tracer.start_as_current_span("request"):
        with tracer.start_as_current_span("query %d" % (number % 20)):
            bytearray(10_000)
worked = rss_bytes()
# A slope: what the first spans bring with them does not count.
few = [tracer.start_span("open") for _ in range({count} // 4)]
before = rss_bytes()
many = [tracer.start_span("open") for _ in range({count})]
print(idle, worked, (rss_bytes() - before) / {count})
"""

INSTRUMENT = (
    "from otel_memory import MemoryInstrumentor; MemoryInstrumentor().instrument()"
)

# Blocks of twenty spans and as many stacks; the newest twenty thousand live.
SAMPLED = """
from collections import deque
from otel_memory.heap import _core, open_source
source = open_source("native", sampling=True)
assert source.name == "native", source.reason
_core.set_sampling(True, rate_bytes=8)
def allocate(depth):
    return allocate(depth - 1) if depth else bytes(500)
def tell():
    health = _core.health()
    unknown = float("nan")
    print(health["samples"], health["live_samples"],
          health.get("memory_bytes", unknown),
          health.get("memory_bound_bytes", unknown), rss_bytes())
kept = deque(maxlen={kept})
for part in range({parts}):
    goal = (part + 1) * {samples} // {parts}
    while _core.health()["samples"] < goal:
        for depth in range(20):
            record = _core.begin("span %d" % depth)
            for _ in range(100):
                kept.append(allocate(depth))
            _core.finish(record)
    tell()
"""

PARTS = 10


class Size(NamedTuple):
    """How much is done."""

    rounds: int
    spans: int
    samples: int
    kept: int


QUICK = Size(rounds=1, spans=1_000, samples=20_000, kept=1_000)


def print_process(size: Size) -> None:
    """Compare processes without us and with us."""
    codes = {
        name: RSS + PROCESS.format(instrument=instrument, count=size.spans)
        for name, instrument in (("without", ""), ("with", INSTRUMENT))
    }
    told: dict[str, list[list[float]]] = defaultdict(list)
    for _, name in shuffled(list(codes), size.rounds):
        told[name].append(measure(codes[name]))
    without, with_us = (
        [statistics.median(values) for values in zip(*told[name], strict=True)]
        for name in codes
    )
    labels = (
        "resident, idle",
        f"resident, after {2 * size.spans:,} spans",
        "one more open span",
    )
    print(f"\n{'':34}{'without us':>14}{'with us':>14}{'difference':>14}")
    for label, before, after in zip(labels, without, with_us, strict=True):
        show = in_bytes if label == labels[-1] else in_mib
        cells = (show(before), show(after), show(after - before, "+"))
        print(f"{label:34}" + "".join(f"{cell:>14}" for cell in cells))


def print_sampled(size: Size) -> None:
    """Show our own memory while samples come and go."""
    code = RSS + SAMPLED.format(kept=size.kept, samples=size.samples, parts=PARTS)
    numbers = measure(code)
    rows = [numbers[start : start + 5] for start in range(0, len(numbers), 5)]
    heads = ("samples taken", "live", "own memory", "its bound", "resident")
    print("\n" + "".join(f"{head:>16}" for head in heads))
    for taken, live, own, bound, resident in (rows[0], rows[PARTS // 2], rows[-1]):
        cells = (f"{taken:,.0f}", f"{live:,.0f}", *map(in_mib, (own, bound, resident)))
        print("".join(f"{cell:>16}" for cell in cells))
    growth = [last - first for first, last in zip(rows[0], rows[-1], strict=True)]
    print(
        f"growth from the first line to the last: own memory {in_mib(growth[2], '+')}, "
        f"resident {in_mib(growth[4], '+')}"
    )


def in_mib(number: float, sign: str = "") -> str:
    """Write bytes as MiB."""
    return "unknown" if math.isnan(number) else f"{number / 2**20:{sign},.2f} MiB"


def in_bytes(number: float, sign: str = "") -> str:
    """Write bytes as they are."""
    return f"{number:{sign},.0f} B"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="of fresh processes")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    options = parser.parse_args()
    size = Size(options.rounds, spans=20_000, samples=10_000_000, kept=20_000)
    if options.quick:
        size = QUICK
    print(f"{machine()}, medians of {size.rounds} rounds")
    print(f"opentelemetry-sdk {installed('opentelemetry-sdk')}")
    try:
        print_process(size)
        print_sampled(size)
    except MeasurementError as error:
        sys.exit(f"a measured process failed:\n{error}")


if __name__ == "__main__":
    main()
