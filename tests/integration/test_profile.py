# SPDX-License-Identifier: Apache-2.0
"""The live-heap profile against what is known to live.

Runs the scripts `isolated/profile_*.py`, each case in a process of its own. What
compares figures is marked `exact`: a sanitizer's allocator hands out other sizes, and
proves nothing by statistics. What is about crashes runs under the sanitizers.
"""

from __future__ import annotations

import pytest

from .isolated_support import ISOLATED, UNTRACED, cases, output, run

pytestmark = pytest.mark.extension

POPULATIONS = ("small objects", "lists", "dicts", "large bytes", "mix")
STORMS = (
    "objects",
    "1 MiB",
    "64 MiB",
    "8 threads",
    "8 threads, 1 MiB",
    "8 threads without the GIL",
)
EXITS, EXIT_PROCESSES = 1_000, 4
MACHINES = ("young", "old")


def run_profile(script, case, *arguments, **variables):
    done = run(ISOLATED / script, case, *arguments, **UNTRACED, **variables)
    assert done.returncode == 0, output(done)
    assert done.stderr == "", output(done)


@pytest.mark.exact
@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize("case", ["case_one_name", "case_twenty_names"])
def test_estimates_by_span_name_are_without_bias(case, population):
    run_profile("profile_estimates.py", case, population)


@pytest.mark.exact
def test_few_samples_have_the_spread_that_they_must_have():
    run_profile("profile_estimates.py", "case_few_samples", "mix")


@pytest.mark.exact
@pytest.mark.parametrize(
    ("script", "case"), cases("profile_rates.py", "profile_realloc.py")
)
def test_estimates_stay_right_when_rates_and_blocks_change(script, case):
    run_profile(script, case)


@pytest.mark.exact
@pytest.mark.parametrize(("script", "case"), cases("profile_native.py"))
def test_blocks_taken_without_the_gil_are_counted(script, case):
    run_profile(script, case)


@pytest.mark.exact
@pytest.mark.parametrize(("script", "case"), cases("profile_fork.py"))
def test_a_child_has_the_samples_of_its_parents_blocks(script, case):
    run_profile(script, case)


@pytest.mark.parametrize(
    "case",
    [
        "case_while_threads_allocate",
        "case_during_collections",
        "case_in_forked_children",
    ],
)
def test_the_profile_can_be_read_at_any_time(case):
    run_profile("profile_readers.py", case)


@pytest.mark.parametrize("part", range(EXIT_PROCESSES))
def test_the_profile_can_be_read_when_the_interpreter_ends(part):
    run_profile("profile_readers.py", "case_at_exit", str(EXITS // EXIT_PROCESSES))


@pytest.mark.exact
@pytest.mark.parametrize("storm", STORMS)
def test_an_allocation_storm_stays_within_the_budget(storm):
    run_profile("profile_bounds.py", "case_storm", storm)


@pytest.mark.exact
@pytest.mark.parametrize(
    "case", ["case_ten_million", "case_tables_full", "case_records"]
)
def test_memory_of_our_own_is_bounded(case):
    run_profile("profile_bounds.py", case)


@pytest.mark.exact
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("script", "case"), cases("profile_ages.py"))
def test_ages_are_known_in_seconds_and_in_spans(script, case, machine, clock_ahead):
    variables = {"LD_PRELOAD": str(clock_ahead)}
    run_profile(script, case, clock_ahead, machine, **variables)


@pytest.mark.exact
@pytest.mark.parametrize(("script", "case"), cases("profile_spans.py"))
def test_spans_and_the_profile_know_of_each_other(script, case):
    run_profile(script, case)
