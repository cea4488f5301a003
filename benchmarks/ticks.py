# SPDX-License-Identifier: Apache-2.0
"""What the background thread takes: each of its tasks, and all of them in a day.

A process with OpenTelemetry's SDK and us completes spans of so many names, holds memory
in each, and has its history filled as after 25 hours. Then each task of the watcher is
run by hand, many times, in its turn. Printed is the median over fresh processes of the
mean of one run, in microseconds of processor time, and what share of one core the
thread takes with the intervals that are default.

    python benchmarks/ticks.py --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import NamedTuple

from _measure import MeasurementError, machine, measure, shuffled

# The entry spans of one interval are drained with the rows that they belong to.
PROCESS = """
import os, time
os.environ["OTEL_PYTHON_MEMORY_INTERVAL"] = "3600"  # the thread itself stays out of it
os.environ["OTEL_PYTHON_MEMORY_SMAPS"] = "true"
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
_logs.set_logger_provider(LoggerProvider())
from otel_memory import MemoryInstrumentor, instrumentor
MemoryInstrumentor().instrument()
watcher = instrumentor._wiring.watcher
tracer = trace.get_tracer("benchmark")
kept = []
def work(times):
    for _ in range(times):
        for number in range({names}):
            with tracer.start_as_current_span("GET /%d" % number):
                kept.append(bytearray(20_000))
work(50)
history = watcher._history
watcher._started_at -= 1e6 + 1500 * 60.0  # so old is the process: readings go on
for minute in range(1500):
    history.add(1e6 + minute * 60.0, 3e8 + minute % 7 * 1e5, minute * 100)
for step in range(96):
    history.add_pairs(
        1e6 + step * 960.0,
        [("GET /%d" % n, "GET /%d" % n, 1_000_000 + step * n, step) for n in range(64)],
    )
def spent(task, times):
    total = 0.0
    for _ in range(times):
        if task == "entries":
            del kept[:]
            work({entries} // {names})
        if task == "rows":
            history._pair_seconds = history._pair_seconds[:0]
            history._pairs = {{}}
        started = time.thread_time()
        tasks[task].run()
        total += time.thread_time() - started
    return total / times * 1e6
tasks = {{t.place.removeprefix("watcher: "): t for t in watcher._schedule._tasks}}
for task, times in {times}.items():
    print(spent(task, times))
    if task == "verdict":
        assert watcher._findings.assessment.growth_bytes_per_hour is not None
"""

INTERVAL_SECONDS = 10.0
VERDICT_SECONDS = 300.0
DETAILS = "details"
VERDICT = "verdict"


class Size(NamedTuple):
    """How much is done; `entries` are the entry spans that end in one interval."""

    rounds: int
    times: int
    entries: int


QUICK = Size(rounds=1, times=2, entries=200)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="fresh processes each")
    parser.add_argument("--quick", action="store_true", help="only try whether it runs")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else Size(arguments.rounds, 200, 1000)
    # The verdict first: real readings do not go on where the history made above ends.
    times = {VERDICT: max(2, size.times // 10)}
    times |= dict.fromkeys(("check", "memory", "rows"), size.times)
    times |= dict.fromkeys(("entries", DETAILS), max(2, size.times // 10))
    codes = {
        names: PROCESS.format(names=names, times=times, entries=size.entries)
        for names in (10, 200)
    }
    told: dict[int, list[list[float]]] = {names: [] for names in codes}
    for _, names in shuffled(list(codes), size.rounds):
        told[names].append(measure(codes[names]))
    print(f"\n{machine()}, rounds {size.rounds}\n")
    print(f"{'µs of processor time':24}" + "".join(f"{n:>8} names" for n in codes))
    medians = {
        names: [statistics.median(values) for values in zip(*rounds, strict=True)]
        for names, rounds in told.items()
    }
    for row, task in enumerate(times):
        cells = "".join(f"{medians[names][row]:>14,.0f}" for names in codes)
        print(f"{label(task, size):24}{cells}")
    print(
        f"{'share of one core':24}"
        + "".join(
            f"{share(dict(zip(times, medians[names], strict=True))):>13.4%} "
            for names in codes
        )
    )


def label(task: str, size: Size) -> str:
    """Say what a task's figure depends on."""
    notes = {
        "entries": f" ({size.entries} spans)",
        VERDICT: " (25 h of history)",
        DETAILS: " (only if asked)",
    }
    return task + notes.get(task, "")


def share(microseconds: dict[str, float]) -> float:
    """Sum up a second of the thread's life."""
    per_interval = sum(
        figure
        for task, figure in microseconds.items()
        if task not in (VERDICT, DETAILS)
    )
    return (
        per_interval / INTERVAL_SECONDS + microseconds[VERDICT] / VERDICT_SECONDS
    ) / 1e6


if __name__ == "__main__":
    try:
        main()
    except MeasurementError as error:
        sys.exit(str(error))
