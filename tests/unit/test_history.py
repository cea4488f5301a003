# SPDX-License-Identifier: Apache-2.0
"""The past of a process stays bounded, and is judged as the whole would be."""

from __future__ import annotations

import math
import random
import tracemalloc
from itertools import pairwise

import pytest

from otel_memory.leaks import LEAKING, NOT_ENOUGH_DATA, STEADY, History, assess
from otel_memory.leaks._history import PAIRS_MAX, READINGS_MAX

MIB = 1024 * 1024
HOUR = 3600.0
BASE = 200 * MIB


def follow(
    history: History, hours: float, rate: float, *, every: float = 10, start: float = 0
) -> None:
    """Grow by a rate an hour from the second hour on, with noise and even traffic."""
    noise = random.Random(1)
    for reading in range(int(hours * HOUR / every)):
        seconds = start + reading * every
        grown = rate * max(0.0, seconds / HOUR - 2)
        used = BASE + grown + noise.random() * 2 * MIB
        history.add(seconds, used, reading * 10)


def test_a_leak_is_found_in_floors_of_minutes() -> None:
    history = History()
    follow(history, 4, 20 * MIB)
    assessment = history.assess(1024 * MIB)
    assert assessment.state == LEAKING
    assert assessment.growth_bytes_per_hour == pytest.approx(20 * MIB, rel=0.1)
    assert assessment.seconds_to_limit is not None


def test_what_is_even_is_steady() -> None:
    history = History()
    follow(history, 4, 0)
    assert history.assess().state == STEADY


def test_floors_of_minutes_are_judged_as_all_readings_are() -> None:
    history = History()
    follow(history, 4, 20 * MIB)
    noise = random.Random(1)
    seconds = [float(10 * n) for n in range(1440)]
    used = [
        BASE + 20 * MIB * max(0.0, s / HOUR - 2) + noise.random() * 2 * MIB
        for s in seconds
    ]
    whole = assess(seconds, used, completed=[10.0 * n for n in range(1440)])
    assert history.assess().state == whole.state
    assert history.assess().growth_bytes_per_hour == pytest.approx(
        whole.growth_bytes_per_hour, rel=0.02
    )


def test_the_least_of_a_minute_counts() -> None:
    history, ours = History(), []
    for minute in range(61):
        for second, used in ((0, 9), (20, 5 + minute % 2), (40, 8)):
            history.add(minute * 60 + second, used, 0)
        ours.append(5 + minute % 2)
    assert list(history._used) == ours


def test_without_known_traffic_throughout_nothing_is_called_a_leak() -> None:
    """One unknown figure is enough: growth may be a morning's traffic then."""
    known, unknown = History(), History()
    follow(known, 4, 20 * MIB)
    unknown.add(0, BASE, None)
    noise = random.Random(1)
    for minute in range(1, 240):
        grown = 20 * MIB * max(0.0, minute / 60 - 2) + noise.random() * 2 * MIB
        unknown.add(minute * 60, BASE + grown, minute)
    assert known.assess().state == LEAKING
    assert unknown.assess().state != LEAKING


def test_days_take_no_more_room_than_one() -> None:
    history = History()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    rows = [(f"span {n}", f"entry {n % 7}", n * MIB, n) for n in range(80)]
    for minute in range(60 * 24 * 3):
        seconds = minute * 60.0
        history.add(seconds, BASE, minute)
        if history.wants_pairs(seconds):
            history.add_pairs(seconds, rows)
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert size < 300_000
    assert len(history._seconds) == 25 * 60 + 1
    assert len(history._pair_seconds) <= READINGS_MAX
    assert len(history._pairs) == PAIRS_MAX
    # A day at least is remembered, and still in steps of a quarter of an hour.
    assert history._pair_seconds[-1] - history._pair_seconds[0] > 24 * HOUR
    assert history.assess().state == STEADY


def test_rare_readings_after_dense_ones_leave_nothing_too_old() -> None:
    history = History()
    for minute in range(25 * 60):
        history.add(minute * 60.0, BASE, 0)
    for hour in range(26, 60):
        history.add(hour * HOUR, BASE, 0)
    assert history._seconds[0] >= 34 * HOUR
    assert len(history._used) == len(history._completed) == len(history._seconds)


def grow(history: History, seconds: float, leak: float) -> None:
    hours = seconds / HOUR
    history.add_pairs(
        seconds,
        [
            ("get", "GET /leak", int(leak * hours * MIB), int(seconds)),
            ("get", "GET /leak", 5 * MIB, int(seconds)),  # the same of another kind
            ("get", "GET /other", 90 * MIB, int(seconds)),
            ("load", "GET /big", 500 * MIB if hours > 0.1 else 0, 1),
        ],
    )


def test_the_growing_pair_is_the_suspect_whatever_its_size() -> None:
    history = History()
    for minute in range(180):
        grow(history, minute * 60.0, 30)
    (suspect,) = history.suspects()
    assert (suspect.span, suspect.entry) == ("get", "GET /leak")
    assert suspect.growth_bytes_per_hour == pytest.approx(30 * MIB, rel=0.05)
    assert suspect.live_bytes > 90 * MIB


def test_what_is_young_is_no_suspect() -> None:
    history = History()
    for minute in range(180):
        grow(history, minute * 60.0, 30)
    assert history.suspects({("get", "GET /leak"): 3.0}) == []
    assert len(history.suspects({("get", "GET /leak"): 4000.0})) == 1


def test_readings_are_dense_at_first_and_thinned_by_halves() -> None:
    history = History()
    times: list[float] = []
    for step in range(6 * 360):
        seconds = step * 10.0
        if history.wants_pairs(seconds):
            times.append(seconds)
            grow(history, seconds, 30)
            assert history._pair_seconds[-1] == seconds
        assert 1 <= len(history._pair_seconds) < READINGS_MAX
    assert times[:12] == [10.0 * n for n in range(12)]
    assert not history.wants_pairs(seconds)
    kept = list(history._pair_seconds)
    assert kept == sorted(set(kept) & set(times))
    steps = [b - a for a, b in pairwise(kept)]
    assert max(steps) <= 2 * min(steps)
    (suspect,) = history.suspects()
    assert suspect.growth_bytes_per_hour == pytest.approx(30 * MIB, rel=0.05)


def test_a_pair_that_comes_late_has_a_past_of_its_own() -> None:
    history = History()
    for minute in range(300):
        seconds = minute * 60.0
        rows = [("always", "a", 10 * MIB, minute)]
        if minute >= 100:
            rows.append(("late", "a", (minute - 100) * MIB, minute))
        if history.wants_pairs(seconds):
            history.add_pairs(seconds, rows)
    late = history._pairs["late", "a"]
    first = len(history._pair_seconds) - len(late.live_bytes)
    for seconds, live in zip(
        history._pair_seconds[first:], late.live_bytes, strict=True
    ):
        assert live == (seconds / 60 - 100) * MIB
    (suspect,) = history.suspects()
    assert suspect.span == "late"


def test_a_pair_that_was_retired_and_returns_begins_anew() -> None:
    history = History()
    for minute in range(60):
        history.add_pairs(minute * 60.0, [("a", "e", minute * MIB, minute)])
    history.add_pairs(60 * 60.0, [])
    assert not history._pairs
    history.add_pairs(61 * 60.0, [("a", "e", MIB, 1)])
    assert len(history._pairs["a", "e"].live_bytes) == 1
    history.add_pairs(62 * 60.0, [("a", "e", MIB, 0)])  # fewer: another row again
    assert len(history._pairs["a", "e"].live_bytes) == 1
    history.suspects()


def test_a_followed_pair_gives_way_only_to_one_twice_as_large() -> None:
    history = History()
    small = [(f"s{n}", "e", 10 * MIB, 1) for n in range(PAIRS_MAX)]
    history.add_pairs(0, small)
    history.add_pairs(100, [*small, ("new", "e", 19 * MIB, 1)])
    assert ("new", "e") not in history._pairs
    history.add_pairs(200, [*small, ("new", "e", 21 * MIB, 1)])
    assert ("new", "e") in history._pairs
    assert len(history._pairs) == PAIRS_MAX


def test_another_process_begins_anew() -> None:
    for seconds, completed in ((5.0, None), (3 * HOUR, 3)):
        history = History()
        follow(history, 4, 20 * MIB)
        history.add_pairs(4 * HOUR, [("a", "e", 1, 1)])
        history.add(seconds, BASE, completed)
        assert len(history._seconds) == 1
        assert history.assess().state == NOT_ENOUGH_DATA
        assert history.suspects() == []


@pytest.mark.parametrize(
    "reading",
    [
        (4 * HOUR - 600, BASE, 999_999),
        (math.nan, BASE, 1),
        (5 * HOUR, math.inf, 1),
        (5 * HOUR, -1.0, 1),
        (-5.0, BASE, 1),
    ],
)
def test_what_cannot_be_right_is_left_out(
    reading: tuple[float, float, int | None],
) -> None:
    history = History()
    follow(history, 4, 20 * MIB)
    before = history.assess(0)
    history.add(*reading)
    assert history.assess(0) == before
    assert before.state == LEAKING


def test_rows_that_cannot_be_right_do_not_raise() -> None:
    history = History()
    history.add_pairs(math.nan, [("a", "e", 1, 1)])
    history.add_pairs(-1.0, [("a", "e", 1, 1)])
    assert not history._pairs
    for minute in range(20):
        history.add_pairs(minute * 60.0, [("a", "e", -5, -5), ("b", "e", 1 << 62, 9)])
        history.add_pairs(minute * 60.0, [("c", "e", 1, 1)])  # not due
    assert set(history._pairs) == {("a", "e"), ("b", "e")}
    assert len(history._pairs["a", "e"].live_bytes) == 20
    history.suspects()


def test_an_empty_past_says_nothing() -> None:
    history = History()
    assert history.wants_pairs(0)
    assert history.assess().state == NOT_ENOUGH_DATA
    assert history.suspects() == []
