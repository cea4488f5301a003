# SPDX-License-Identifier: Apache-2.0
"""Alarms go off once, and do not flap."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from otel_memory.alerts import Alarms, Change, Memory
from otel_memory.config import MemoryConfig
from otel_memory.leaks import (
    GROWING,
    LEAKING,
    NOT_ENOUGH_DATA,
    STEADY,
    WARMING_UP,
    Assessment,
)

MIB = 1024 * 1024
LIMIT = 1000 * MIB


def alarms(**settings: object) -> Alarms:
    config = MemoryConfig(**settings)  # type: ignore[arg-type]
    return Alarms(config.thresholds(), config.growth_warning_bytes_per_hour)


def changes(
    of: Alarms, usage_mib: Iterable[float], limit_bytes: int | None = LIMIT
) -> list[tuple[int, str, bool]]:
    """Show readings; list (index of the reading, kind, recovered)."""
    found = []
    for index, mib in enumerate(usage_mib):
        memory = Memory(1, round(mib * MIB), limit_bytes)
        found += [(index, c.kind, c.recovered) for c in of.see_memory(memory)]
    return found


def test_three_readings_in_a_row_raise_one_warning() -> None:
    assert changes(alarms(), [700, 800, 801, 850, *[860] * 100]) == [
        (3, "warning", False)
    ]


def test_two_readings_are_not_enough() -> None:
    assert changes(alarms(), [800, 850, 799] * 50) == []


def test_teeth_of_the_collector_neither_raise_nor_flap() -> None:
    """From 650 up to 820 MiB and down again, for hours: two readings above 80 %."""
    teeth = [650, 690, 730, 770, 810, 820] * 100
    assert changes(alarms(), teeth) == []
    # Higher ones are above for three readings, and never below 72 % for six.
    high = [680, 740, 800, 830, 860, 890] * 100
    assert changes(alarms(), high) == [(4, "warning", False)]


def test_recovery_takes_six_readings_well_below() -> None:
    over = [890, 850, 850]
    near, below = [721] * 50, [719] * 5
    up_and_down = [*over, *near, *below, 760, *below]
    assert changes(alarms(critical="off"), up_and_down) == [(2, "warning", False)]
    assert changes(alarms(critical="off"), [*up_and_down, 719, 1]) == [
        (2, "warning", False),
        (len(up_and_down), "warning", True),
    ]


def test_after_recovery_it_may_go_off_again() -> None:
    cycle = [*[850] * 3, *[600] * 6]
    assert changes(alarms(), cycle * 2) == [
        (2, "warning", False),
        (8, "warning", True),
        (11, "warning", False),
        (17, "warning", True),
    ]


def test_critical_comes_after_the_warning_and_goes_before_it() -> None:
    usage = [*[820] * 5, *[910] * 5, *[800] * 6, *[700] * 6]
    assert changes(alarms(), usage) == [
        (2, "warning", False),
        (7, "critical", False),
        (15, "critical", True),
        (21, "warning", True),
    ]


def test_half_way_from_the_threshold_to_the_limit_one_reading_is_enough() -> None:
    """A process that fills its limit in a minute is told of before it is killed."""
    assert changes(alarms(), [700, 899, 700, 900]) == [(3, "warning", False)]
    assert changes(alarms(warning="off"), [949, 700, 950]) == [(2, "critical", False)]
    assert changes(alarms(), [700, 990]) == [
        (1, "warning", False),
        (1, "critical", False),
    ]
    # And once is once; nor is a later tooth the end of it.
    assert changes(alarms(), [990, 600, 990, 600, 990]) == [
        (0, "warning", False),
        (0, "critical", False),
    ]


def test_a_leap_raises_both_the_warning_first() -> None:
    both = alarms(warning="80%", critical="80.1%")
    assert changes(both, [850] * 3) == [(2, "warning", False), (2, "critical", False)]


def test_a_share_of_no_limit_is_silent_and_keeps_its_state() -> None:
    of = alarms()
    assert changes(of, [10**6] * 10, limit_bytes=None) == []
    assert changes(of, [850] * 2) == []
    # The limit vanishes and returns: what was counted stays.
    assert changes(of, [850], limit_bytes=None) == []
    assert changes(of, [850]) == [(0, "warning", False)]


def test_an_unknown_use_of_the_limit_is_no_reading() -> None:
    of = alarms()
    assert of.see_memory(Memory(999 * MIB, None, LIMIT)) == []


def test_a_size_is_judged_by_the_process_and_needs_no_limit() -> None:
    of = alarms(warning="200MiB", critical="300MiB")
    small, large = Memory(199 * MIB, 999 * MIB, LIMIT), Memory(250 * MIB, None, None)
    assert [of.see_memory(small) for _ in range(5)] == [[]] * 5
    assert [of.see_memory(large) for _ in range(3)] == [
        [],
        [],
        [Change("warning", False, 250 * MIB, 200 * MIB, None)],
    ]


def test_a_change_says_what_it_was_about() -> None:
    of = alarms(critical="off")
    *_, (change,) = (of.see_memory(Memory(1, 850 * MIB, LIMIT)) for _ in range(3))
    assert change == Change("warning", False, 850 * MIB, 0.8 * LIMIT, LIMIT)


def test_what_is_off_is_silent() -> None:
    assert changes(alarms(warning="off", critical="off"), [999] * 10) == []


def states(of: Alarms, *verdicts: tuple[str, float]) -> list[tuple[int, str, bool]]:
    found = []
    for index, (state, rate_mib) in enumerate(verdicts):
        assessment = Assessment(state, rate_mib * MIB)
        found += [(index, c.kind, c.recovered) for c in of.see_verdict(assessment)]
    return found


LEAK, GROWTH, EVEN = (LEAKING, 35.0), (GROWING, 35.0), (STEADY, 0.5)


def test_one_verdict_of_a_leak_is_enough_and_told_once() -> None:
    assert states(alarms(), EVEN, GROWTH, LEAK, LEAK, GROWTH, LEAK) == [
        (2, "leak", False)
    ]


def test_a_leak_is_over_after_three_verdicts_without_growth() -> None:
    assert states(alarms(), LEAK, EVEN, EVEN, GROWTH, EVEN, EVEN, LEAK, EVEN) == [
        (0, "leak", False)
    ]
    warming = (WARMING_UP, 35.0)
    assert states(alarms(), LEAK, EVEN, warming, EVEN, EVEN, LEAK) == [
        (0, "leak", False),
        (3, "leak", True),
        (5, "leak", False),
    ]


def test_a_verdict_that_is_none_changes_nothing() -> None:
    nothing = (NOT_ENOUGH_DATA, 0.0)
    assert states(alarms(), LEAK, EVEN, EVEN, nothing, nothing, EVEN) == [
        (0, "leak", False),
        (5, "leak", True),
    ]


def test_growth_needs_a_threshold_two_verdicts_and_a_rate() -> None:
    assert states(alarms(), *[GROWTH] * 10) == []
    of = alarms(growth_warning_bytes_per_hour="30MiB/h")
    slow = (GROWING, 29.0)
    assert states(of, GROWTH, slow, GROWTH, EVEN, GROWTH, GROWTH, GROWTH) == [
        (5, "growth", False)
    ]
    assert states(of, slow, slow, slow, EVEN, EVEN, slow, EVEN, EVEN) == []
    assert states(of, (GROWING, 26.0)) == [(0, "growth", True)]


def test_warming_up_is_no_growth() -> None:
    of = alarms(growth_warning_bytes_per_hour="30MiB/h")
    assert states(of, *[(WARMING_UP, 99.0)] * 10) == []


@pytest.mark.parametrize("state", [GROWING, LEAKING])
def test_growth_and_its_leak_are_two_alerts(state: str) -> None:
    of = alarms(growth_warning_bytes_per_hour=MIB)
    kinds = [kind for _, kind, _ in states(of, (state, 35.0), (state, 35.0))]
    assert kinds == (["leak", "growth"] if state == LEAKING else ["growth"])
