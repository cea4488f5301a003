# SPDX-License-Identifier: Apache-2.0
"""What counting and sampling cost, as ratios.

Two tables:

* the CPU time of loops that do nothing but allocate, with nothing, with counting,
  with counting and sampling, and with tracemalloc, each over the first;
* the CPU time of one empty span, with and without us.

Every figure comes from fresh processes, in shuffled rounds. Each process runs its loop
once to warm up, then for the figure.

    python benchmarks/overhead.py --rounds 7
"""

from __future__ import annotations

import argparse
import statistics
import sys
import textwrap
from collections import defaultdict

from _measure import (
    LOOPS,
    MEASURE,
    MeasurementError,
    geometric_mean,
    loop,
    machine,
    measure,
    shuffled,
)

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
run({warm_up})
print(min(run({count}) for _ in range(5)))
"""

INSTRUMENT = (
    "from otel_memory import MemoryInstrumentor; MemoryInstrumentor().instrument()"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7, help="of fresh processes")
    parser.add_argument("--quick", action="store_true", help="one small round")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds

    codes = {
        (name, mode): "\n".join(
            [
                textwrap.dedent(setup),
                loop(name, quick=options.quick),
                MEASURE,
                "print(seconds)",
            ]
        )
        for name in LOOPS
        for mode, setup in MODES.items()
    }
    counts = (20, 50) if options.quick else (2_000, 5_000)
    for mode, instrument in (("off", ""), ("on", INSTRUMENT)):
        codes["span", mode] = SPANS.format(
            instrument=instrument, warm_up=counts[0], count=counts[1]
        )

    measured: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _, key in shuffled(list(codes), rounds):
        try:
            measured[key] += measure(codes[key])
        except MeasurementError as error:
            sys.exit(f"a measured process failed:\n{error}")
    medians = {key: statistics.median(values) for key, values in measured.items()}

    print(f"{machine()}, median of {rounds} rounds")
    print(
        f"\n{'CPU time over none':22}"
        + "".join(f"{name:>10}" for name in LOOPS)
        + f"{'geo. mean':>12}"
    )
    for mode in MODES:
        ratios = [medians[name, mode] / medians[name, "off"] for name in LOOPS]
        cells = "".join(f"{ratio:>9.2f}x" for ratio in ratios)
        print(f"{mode:22}{cells}{geometric_mean(ratios):>11.2f}x")
    off, on = (medians["span", mode] * 1e6 for mode in ("off", "on"))
    print(
        f"\none empty span: {off:.1f} µs without us, {on:.1f} µs with us: "
        f"{on - off:+.1f} µs"
    )


if __name__ == "__main__":
    main()
