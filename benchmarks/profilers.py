# SPDX-License-Identifier: Apache-2.0
"""What a live-heap profile costs: with this project, with others, in one run.

CPU time of four loops that do nothing but allocate and of three benchmarks of
pyperformance, under each profiler with its own defaults, given twice:

* over a bare process, which is what switching a profiler on costs in all;
* over a process with the same imports and the profiler off. Modules that an agent
  loads make full garbage collections longer, and that alone can cost more than the
  profiling. A service may have loaded some of them anyway.

Each figure comes with where it lies in 95 of 100 draws of the rounds, and the bare
process is measured twice: what `none, again` says is the noise of the machine.
tracemalloc, ten times slower than all others, runs in the first three rounds only.

Every profiler must show what it holds at the end of every measured process, or the run
fails for it. One that is not installed is named as such. Only memory is profiled: the
CPU profilers, tracers and the like of the same packages are off.

    python benchmarks/profilers.py --rounds 7 --json raw.json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

from _measure import (
    BENCHMARKS,
    LOOPS,
    MEASURE,
    MeasurementError,
    Ratios,
    benchmark,
    compare,
    installed,
    loop,
    machine,
    measure,
    shuffled,
)
from _modes import MODES, Mode
from _pyroscope import Server

DISTRIBUTIONS = (
    "otel-memory",
    "opentelemetry-sdk",
    "ddtrace",
    "pyroscope-io",
    "pyperformance",
)

# After the measurement, so that loops that keep nothing leave something to be seen.
HOLD = "\nheld = [bytes(1 << 20) for _ in range(64)]\n"
REPORT = "\nprint(seconds, rss_bytes, evidence)\n"

SLOW_ROUNDS = 3
CELL, LABEL = 12, 26


class Results:
    """What the processes told, by mode and workload, one entry a round."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.rss_bytes: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self.evidence: dict[str, list[float]] = defaultdict(list)
        self.failures: dict[str, str] = {}

    def add(self, mode: str, workload: str, told: list[float]) -> None:
        """Keep what one process printed."""
        self.seconds[mode].setdefault(workload, []).append(told[0])
        self.rss_bytes[mode].setdefault(workload, []).append(told[1])
        self.evidence[mode].append(told[2])

    def over(self, mode: str, baseline: str) -> Ratios:
        """Compare CPU times."""
        return compare(self.seconds[mode], self.seconds[baseline])

    def extra_rss_bytes(self, mode: str, baseline: str) -> float:
        """Compare what is resident at the end: the median of the workloads."""
        return statistics.median(
            statistics.median(values)
            - statistics.median(self.rss_bytes[baseline][workload])
            for workload, values in self.rss_bytes[mode].items()
        )


def code_of(mode: Mode, workload: str, server: Server) -> str:
    """Put a measured process together."""
    evidence = HOLD + textwrap.dedent(mode.evidence) if mode.evidence else "evidence=0"
    setup = textwrap.dedent(mode.setup)
    if "{server!r}" in setup:
        setup = setup.format(server=server.address)
    return "\n".join([setup, workload, MEASURE, evidence, REPORT])


def run_once(mode: Mode, workload: str, server: Server) -> list[float]:
    """Measure one process; the profiler must have been at work in it."""
    server.take_samples()
    told = measure(code_of(mode, workload, server))
    if told[2] < 0:
        told[2] = server.take_samples()
    if mode.evidence and told[2] <= 0:
        raise MeasurementError("the profiler held nothing: it was not at work")
    return told


def run_all(modes: dict[str, Mode], workloads: dict[str, str], rounds: int) -> Results:
    """Measure every mode with every workload, round by round."""
    results = Results()
    server = Server()
    keys = [(mode, workload) for mode in modes for workload in workloads]
    for number, (name, workload) in shuffled(keys, rounds):
        mode = modes[name]
        if name in results.failures or (mode.is_slow and number >= SLOW_ROUNDS):
            continue
        try:
            told = run_once(mode, workloads[workload], server)
        except MeasurementError as error:
            results.failures[name] = f"{workload}: {error}"
            print(f"{name.strip()} failed: {workload}:\n{error}", file=sys.stderr)
            continue
        results.add(name, workload, told)
    return results


def print_table(
    title: str, rows: list[tuple[str, str]], workloads: list[str], results: Results
) -> None:
    """Print rows of (mode, the mode that it is divided by)."""
    print(f"\n{title}")
    heads = [*workloads, "geo. mean", "RSS"]
    print(" " * LABEL + "".join(f"{head:>{CELL}}" for head in heads))
    for name, baseline in rows:
        word = missing(name) or failed(results, name, baseline)
        if word:
            print(f"{name:{LABEL}}{word:>{CELL}}")
            continue
        by_workload, mean = results.over(name, baseline)
        ratios = [*(by_workload[workload] for workload in workloads), mean]
        rss_mib = results.extra_rss_bytes(name, baseline) / 2**20
        print(
            f"{name:{LABEL}}"
            + "".join(f"{ratio!s:>{CELL}}" for ratio in ratios)
            + f"{rss_mib:>+{CELL - 4}.1f} MiB"
        )
        if len(results.seconds[name][workloads[0]]) > 1:  # one round has no spread
            spread = "".join(f"{ratio.interval():>{CELL}}" for ratio in ratios)
            print(" " * LABEL + spread)


def missing(name: str) -> str | None:
    """Say that a mode's package is not there."""
    found = importlib.util.find_spec(MODES[name].package)
    return None if found else "not installed"


def failed(results: Results, *names: str) -> str | None:
    """Say that a mode, or what it is divided by, failed."""
    return "failed" if any(name in results.failures for name in names) else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7, help="of fresh processes")
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--json", type=Path, help="where to write all that was told")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds

    workloads = {name: loop(name, quick=options.quick) for name in LOOPS}
    without: list[str] = []
    for name in BENCHMARKS:
        code = benchmark(name, quick=options.quick)
        if code is None:
            without.append(name)
        else:
            workloads[name] = code
    modes = {name: mode for name, mode in MODES.items() if not missing(name)}
    results = run_all(modes, workloads, rounds)

    few = f" ({SLOW_ROUNDS} of tracemalloc)" if rounds > SLOW_ROUNDS else ""
    print(f"{machine()}, medians of {rounds} rounds{few}")
    print(", ".join(f"{name} {installed(name)}" for name in DISTRIBUTIONS))
    if without:
        print(f"pyperformance is not installed: without {', '.join(without)}")
    if "none" in results.failures:
        sys.exit("nothing to compare with: the bare process failed")
    seconds = results.seconds["none"]
    print(
        "CPU seconds of the bare process: "
        + ", ".join(
            f"{name} {statistics.median(seconds[name]):.2f}" for name in workloads
        )
    )
    print_table(
        "CPU time over a bare process, and RSS at the end",
        [(name, "none") for name in MODES if name != "none"],
        list(workloads),
        results,
    )
    print_table(
        "CPU time over the same imports with the profiler off, and RSS at the end",
        [(name, mode.baseline) for name, mode in MODES.items() if mode.evidence],
        list(workloads),
        results,
    )
    if options.json:
        told = {name: getattr(results, name) for name in ("seconds", "rss_bytes")}
        options.json.write_text(
            json.dumps({"machine": machine(), **told, "evidence": results.evidence})
        )
    if results.failures:
        sys.exit(f"\nfailed: {', '.join(name.strip() for name in results.failures)}")


if __name__ == "__main__":
    main()
