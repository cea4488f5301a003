# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: workloads, fresh processes, and ratios with a spread.

A workload is code that defines `run()`. A measured process is made of the code of a
mode, then of a workload, then `MEASURE`, and prints numbers. All processes of a round
run in shuffled order before the next round begins, so that a noisy machine is noisy
for all of them alike.
"""

from __future__ import annotations

import datetime
import importlib.util
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

LOOPS = {
    "json": """
        import json
        text = json.dumps([{"id": i, "name": f"n{i}", "tags": ["a", "b", str(i)],
                            "price": i * 1.5} for i in range(60)])
        def run():
            kept = []
            for _ in range(900 // SHRINK):
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
                 for i in range(12_000 // SHRINK)]
    """,
    "strings": """
        def run():
            for _ in range(25):
                parts = [("x%d" % i) * 3 for i in range(20_000 // SHRINK)]
                ",".join(parts).split(",")
    """,
    "tight": """
        def run():
            new = object
            for _ in range(3_000_000 // SHRINK):
                new()
    """,
}
"""Loops that do nothing but allocate: the most that a hook can cost."""


class Benchmark(NamedTuple):
    """A benchmark of pyperformance, and how often one `run()` calls it."""

    folder: str
    loops: int


BENCHMARKS = {
    "json_loads": Benchmark("bm_json_loads", 400),
    "deltablue": Benchmark("bm_deltablue", 45),
    "nbody": Benchmark("bm_nbody", 2),
}
"""Three that need neither data nor packages, from much allocation to hardly any.

On CPython 3.11 they allocate about 1,300, 160 and 25 MB in a second of CPU time; of
thirty that were tried, half lie between 150 and 300. json_loads builds dicts and
strings, as a service does that answers requests; deltablue is classes, method calls
and lists; nbody is arithmetic on floats, which come from the interpreter's free list.
"""

# Their own main functions build the data, so these run, with a runner that only notes
# what it shall run.
_FIND_BENCHMARK = """
import runpy, sys
import pyperf
found = {{}}
class Finder(pyperf.Runner):
    def bench_func(self, name, function, *arguments, **_):
        def repeat(loops):
            for _ in range(loops):
                function(*arguments)
        found[name] = repeat
    def bench_time_func(self, name, function, *arguments, **_):
        found[name] = lambda loops: function(loops, *arguments)
pyperf.Runner = Finder
sys.argv = [{script!r}]
runpy.run_path({script!r}, run_name="__main__")
work = found[{name!r}]
def run():
    work(max({loops} // SHRINK, 1))
"""

MEASURE = """
import os, time
run()
start = time.process_time()
run()
run()
seconds = time.process_time() - start
with open("/proc/self/statm") as file:
    rss_bytes = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
"""
"""Sets `seconds` and `rss_bytes`. The first run warms up caches and specialisation."""

QUICK_SHRINK = 100


class MeasurementError(Exception):
    """A measured process failed; says how."""


def loop(name: str, *, quick: bool) -> str:
    """Make the code of one of `LOOPS`."""
    return _shrink(quick) + textwrap.dedent(LOOPS[name])


def benchmark(name: str, *, quick: bool) -> str | None:
    """Make the code of one of `BENCHMARKS`; None without pyperformance."""
    spec = importlib.util.find_spec("pyperformance")
    if spec is None or spec.origin is None:
        return None
    folder, loops = BENCHMARKS[name]
    script = (
        Path(spec.origin).parent
        / "data-files"
        / "benchmarks"
        / folder
        / "run_benchmark.py"
    )
    code = _FIND_BENCHMARK.format(script=str(script), name=name, loops=loops)
    return _shrink(quick) + code


def _shrink(quick: bool) -> str:
    return f"SHRINK = {QUICK_SHRINK if quick else 1}\n"


def measure(code: str) -> list[float]:
    """Run code in a fresh process; it prints numbers.

    Raises:
        MeasurementError: The process failed.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    environment = {
        **kept,
        # Hash randomisation alone moves these loops by several per cent.
        "PYTHONHASHSEED": "0",
        # An agent that looks for its server is not what is measured.
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        raise MeasurementError(done.stderr.strip() or f"exit {done.returncode}")
    return [float(number) for number in done.stdout.split()]


def shuffled(keys: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Give each key once a round, each round in another order, and say so."""
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for key in random.sample(keys, len(keys)):
            yield number, key


def geometric_mean(ratios: Sequence[float]) -> float:
    """Average ratios."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


class Ratio(NamedTuple):
    """A ratio of medians, and where it lies in 95 of 100 draws of the rounds."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}x"

    def interval(self) -> str:
        """The spread alone."""
        return f"{self.low:.2f}-{self.high:.2f}"


class Ratios(NamedTuple):
    """How one mode compares with another: by workload, and on average."""

    by_workload: dict[str, Ratio]
    mean: Ratio


DRAWS = 1_000


def compare(
    above: Mapping[str, Sequence[float]], below: Mapping[str, Sequence[float]]
) -> Ratios:
    """Divide medians by workload, and see how they vary with the rounds.

    The bootstrap draws whole rounds with replacement, the same for both modes and all
    workloads: what they share in a round, they share in a draw. Of few rounds it
    makes narrow intervals; below five it is little more than the range.

    Args:
        above: A list of seconds, one a round, by workload.
        below: The same of what is divided by; rounds that `above` lacks do not count.
    """
    rounds = min(map(len, above.values()))

    def ratios(picks: Sequence[int]) -> list[float]:
        return [
            statistics.median([seconds[i] for i in picks])
            / statistics.median([below[workload][i] for i in picks])
            for workload, seconds in above.items()
        ]

    everything = ratios(range(rounds))
    chance = random.Random(0)
    draws = [ratios(chance.choices(range(rounds), k=rounds)) for _ in range(DRAWS)]
    return Ratios(
        {
            workload: _ratio(everything[number], [draw[number] for draw in draws])
            for number, workload in enumerate(above)
        },
        _ratio(geometric_mean(everything), [geometric_mean(draw) for draw in draws]),
    )


def _ratio(value: float, drawn: list[float]) -> Ratio:
    drawn = sorted(drawn)
    edge = int(len(drawn) * 0.025)
    return Ratio(value, drawn[edge], drawn[-1 - edge])


def installed(distribution: str) -> str:
    """Tell a distribution's version, or that there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def machine() -> str:
    """Where and when a figure was taken."""
    model = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model += " " + line.partition(":")[2].strip()
                break
    except OSError:
        pass  # the architecture is all there is then
    return (
        f"CPython {platform.python_version()}, {model}, {os.cpu_count()} CPUs, "
        f"{datetime.date.today()}"
    )
