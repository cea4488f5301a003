# SPDX-License-Identifier: Apache-2.0
"""Each benchmark runs, at its smallest, and gives a figure for every mode.

What the figures are is nothing for a test.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from .isolated_support import UNTRACED, output, run

pytestmark = pytest.mark.extension

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LOOPS = 4
RATIO = re.compile(r"\d+\.\d\dx")
FIGURE = re.compile(r"[+-]?[\d,.]+ (?:MiB|B)\b")

OVERHEAD = ("off", "counting", "counting + sampling", "tracemalloc")
# By the package that a mode needs: what it costs in all, what the profiling costs.
PROFILERS = {
    "otel_memory": (
        ("otel-memory imported", "SDK, in a span"),
        ("counting", "counting + sampling", "otel-memory, all of it"),
    ),
    "ddtrace": (("ddtrace imported",), ("ddtrace memory",)),
    "pyroscope": (("Pyroscope imported",), ("Pyroscope memory",)),
    "tracemalloc": (("none, again",), ("tracemalloc",)),
}


def benchmark(name, cwd):
    done = run(BENCHMARKS / f"{name}.py", "--quick", cwd=cwd, **UNTRACED)
    assert done.returncode == 0, output(done)
    return done.stdout


def lines_of(label, text):
    """Find the lines of a mode; its label is followed by a ratio or a word."""
    wanted = re.compile(rf"\s*{re.escape(label)}\s+(?=\d|not installed)(.*)")
    return [found[1] for line in text.splitlines() if (found := wanted.match(line))]


def test_overhead_gives_a_ratio_for_every_mode_and_loop(tmp_path):
    text = benchmark("overhead", tmp_path)
    for label in OVERHEAD:
        (line,) = lines_of(label, text)
        assert len(RATIO.findall(line)) == LOOPS + 1, line
    assert re.search(r"one empty span: .* µs with us: [+-]\d", text)


def test_profilers_gives_ratios_for_every_profiler_or_says_what_is_missing(tmp_path):
    text = benchmark("profilers", tmp_path)
    has_pyperformance = find_spec("pyperformance") is not None
    columns = LOOPS + (3 if has_pyperformance else 0) + 1
    assert ("pyperformance is not installed: without" in text) != has_pyperformance
    for package, (baselines, modes) in PROFILERS.items():
        for label, tables in (*((b, 1) for b in baselines), *((m, 2) for m in modes)):
            lines = lines_of(label, text)
            assert len(lines) == tables, (label, text)
            for line in lines:
                if find_spec(package) is None:
                    assert line == "not installed"
                else:
                    assert len(RATIO.findall(line)) == columns, line
                    assert FIGURE.search(line), line


def test_memory_gives_a_figure_for_every_question(tmp_path):
    text = benchmark("memory", tmp_path)
    for label in ("resident, idle", "resident, after", "one more open span"):
        (line,) = (line for line in text.splitlines() if line.startswith(label))
        assert len(FIGURE.findall(line)) == 3, line
    *_, last_row, growth = text.splitlines()
    taken, live, *_ = last_row.split()
    assert int(taken.replace(",", "")) >= 20_000
    assert int(live.replace(",", "")) > 0
    assert FIGURE.search(growth), growth


def test_ticks_gives_a_figure_for_every_task_of_the_watcher(tmp_path):
    text = benchmark("ticks", tmp_path)
    spent = re.compile(r"^([a-z]+)(?: \(.*\))? +([\d,]+) +([\d,]+)$", re.MULTILINE)
    tasks = [task for task, *_ in spent.findall(text)]
    assert tasks == ["verdict", "check", "memory", "rows", "entries", "details"]
    assert re.search(r"^share of one core +[\d.]+% +[\d.]+%", text, re.MULTILINE)
