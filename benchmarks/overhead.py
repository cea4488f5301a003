# SPDX-License-Identifier: Apache-2.0
"""What counting and sampling cost, as ratios.

Two tables:

* the CPU time of loops that do nothing but allocate, with nothing, with counting,
  with counting and sampling, and with tracemalloc, each over the first;
* the CPU time of one empty span, with and without us.

Every figure comes from fresh processes, in shuffled rounds, so that a noisy machine
is noisy for all. Each process runs its loop once to warm up, then for the figure.

    python benchmarks/overhead.py --rounds 7
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import platform
import random
import statistics
import subprocess
import sys
from collections import defaultdict

LOOPS = {
    "json": """
        import json
        text = json.dumps([{"id": i, "name": f"n{i}", "tags": ["a", "b", str(i)],
                            "price": i * 1.5} for i in range(60)])
        def run():
            kept = []
            for _ in range(900):
                kept.append(json.loads(text))
                json.dumps(kept[-1])
                if len(kept) > 300:
                    kept.clear()
    """,
    "objects": """
        class Point:
            __slots__ = ("x", "y")
            def __init__(self, x, y):
                self.x, self.y = x, y
        def run():
            for k in range(12):
                [(Point(i, str(i)), [i, i + 1], {"k": i}, (i, k))
                 for i in range(12_000)]
    """,
    "strings": """
        def run():
            for _ in range(25):
                parts = [("x%d" % i) * 3 for i in range(20_000)]
                ",".join(parts).split(",")
    """,
    "tight": """
        def run():
            new = object
            for _ in range(3_000_000):
                new()
    """,
}

# The import is in all of them: a service that has OpenTelemetry has loaded most of
# what it brings, and a bare script has not. What it weighs is RSS, not CPU time.
MODES = {
    "off": """
        from otel_memory.heap import open_source
    """,
    "counting": """
        from otel_memory.heap import open_source
        source = open_source("native", sampling=False)
        assert source.name == "native", source.reason
    """,
    "counting + sampling": """
        from otel_memory.heap import open_source
        source = open_source("native", sampling=True)
        assert source.name == "native", source.reason
    """,
    "tracemalloc": """
        from otel_memory.heap import open_source
        import tracemalloc
        tracemalloc.start()
    """,
}

MEASURE = """
import time
run()
start = time.process_time()
run()
run()
print(time.process_time() - start)
"""

SPANS = """
import time
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
{instrument}
tracer = trace.get_tracer("benchmark")
def run(count):
    start = time.process_time()
    for _ in range(count):
        with tracer.start_as_current_span("empty"):
            pass
    return (time.process_time() - start) / count
run(2_000)
print(min(run(5_000) for _ in range(5)))
"""

INSTRUMENT = (
    "from otel_memory import MemoryInstrumentor; MemoryInstrumentor().instrument()"
)


def dedent(code: str) -> str:
    """Take the indentation of the tables above from code."""
    lines = code.strip("\n").split("\n")
    return "\n".join(line[8:] for line in lines)


def seconds(code: str) -> float:
    """Run code in a fresh process; it prints one number."""
    # Hash randomisation alone moves these loops by several per cent.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        sys.exit(f"a measured process failed:\n{done.stderr}")
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7, help="of fresh processes")
    rounds = parser.parse_args().rounds

    codes = {
        (loop, mode): "\n".join([dedent(setup), dedent(body), MEASURE])
        for loop, body in LOOPS.items()
        for mode, setup in MODES.items()
    }
    codes["span", "off"] = SPANS.format(instrument="")
    codes["span", "on"] = SPANS.format(instrument=INSTRUMENT)

    measured: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        keys = list(codes)
        random.shuffle(keys)
        for key in keys:
            measured[key].append(seconds(codes[key]))
    medians = {key: statistics.median(values) for key, values in measured.items()}

    print(
        f"CPython {platform.python_version()}, {platform.machine()}, "
        f"{os.cpu_count()} CPUs, {datetime.date.today()}, median of {rounds} rounds"
    )
    print(
        f"\n{'CPU time over none':22}"
        + "".join(f"{loop:>10}" for loop in LOOPS)
        + f"{'geo. mean':>12}"
    )
    for mode in MODES:
        ratios = [medians[loop, mode] / medians[loop, "off"] for loop in LOOPS]
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        cells = "".join(f"{ratio:>9.2f}x" for ratio in ratios)
        print(f"{mode:22}{cells}{mean:>11.2f}x")
    off, on = (medians["span", mode] * 1e6 for mode in ("off", "on"))
    print(
        f"\none empty span: {off:.1f} µs without us, {on:.1f} µs with us: "
        f"{on - off:+.1f} µs"
    )


if __name__ == "__main__":
    main()
