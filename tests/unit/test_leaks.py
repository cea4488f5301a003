# SPDX-License-Identifier: Apache-2.0
"""The verdict on one process, and who bears the growth."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from random import Random

import pytest

from otel_memory.leaks import (
    GROWING,
    LEAKING,
    NOT_ENOUGH_DATA,
    STATES,
    STEADY,
    WARMING_UP,
    Assessment,
    Suspect,
    assess,
    room_bytes,
    suspects,
)

MIB = 1024**2
HOUR = 3600.0
BASE = 200 * MIB


def minutes(hours, step_seconds=60.0, start_hours=0.0):
    count = int((hours - start_hours) * HOUR / step_seconds)
    return [start_hours * HOUR + step_seconds * (i + 1) for i in range(count)]


def series(seconds, level, noise=0.001, seed=1):
    """Memory in units of 200 MiB as a function of hours, with a little noise."""
    rng = Random(seed)
    return [BASE * (level(s / HOUR) + noise * rng.gauss(0, 1)) for s in seconds]


def even(seconds, per_second=10.0):
    return [per_second * s for s in seconds]


def judged(level, hours=8.0, per_second=10.0, **options):
    seconds = minutes(hours)
    return assess(
        seconds, series(seconds, level), completed=even(seconds, per_second), **options
    )


# --- States -------------------------------------------------------------------


def test_nothing_is_said_of_no_samples_and_of_less_than_an_hour():
    assert assess([], []) == Assessment(NOT_ENOUGH_DATA)
    assert assess([5.0], [1.0]) == Assessment(NOT_ENOUGH_DATA)
    seconds = minutes(55 / 60)
    doubling = series(seconds, lambda h: 1 + h)
    assert assess(seconds, doubling, completed=even(seconds)).state == NOT_ENOUGH_DATA


def test_nothing_is_said_of_a_handful_of_samples():
    seconds = [HOUR * k for k in range(1, 6)]
    assert assess(seconds, [BASE * k for k in range(1, 6)]).state == NOT_ENOUGH_DATA


def test_growth_of_a_young_process_is_warm_up():
    assert judged(lambda h: 1 + 0.3 * h, hours=1.5).state == WARMING_UP
    assert judged(lambda h: 1 + 0.3 * h, hours=3.0).state == WARMING_UP


def test_a_flat_process_is_steady_young_and_old():
    assert judged(lambda h: 1.0, hours=1.5).state == STEADY
    assert judged(lambda h: 1.0).state == STEADY


@pytest.mark.parametrize("hours_to_settle", [0.2, 0.5, 2.0])
def test_a_process_that_has_warmed_up_is_steady(hours_to_settle):
    assert judged(lambda h: 1 + 0.8 * min(h / hours_to_settle, 1)).state == STEADY


@pytest.mark.parametrize("percent_per_hour", [3, 6, 30])
def test_what_goes_on_growing_leaks(percent_per_hour):
    verdict = judged(lambda h: 1 + percent_per_hour / 100 * h, hours=4.0)
    assert verdict.state == LEAKING
    truth = BASE * percent_per_hour / 100
    assert verdict.growth_bytes_per_hour == pytest.approx(truth, rel=0.1)


def test_growth_that_is_not_worth_a_ticket_is_no_leak():
    assert judged(lambda h: 1 + 0.005 * h).state == STEADY


def test_large_processes_leak_by_bytes_and_not_by_their_share():
    seconds = minutes(8)
    grown = [10_000 * MIB + 60 * MIB * s / HOUR for s in seconds]  # 0.6 %/h
    assert assess(seconds, grown, completed=even(seconds)).state == LEAKING


def test_a_few_arenas_of_a_tiny_process_are_no_leak():
    seconds = minutes(8)
    grown = [10 * MIB + 0.4 * MIB * s / HOUR for s in seconds]  # 4 %/h
    assert assess(seconds, grown, completed=even(seconds)).state == STEADY


def test_a_leak_under_warm_up_is_found():
    shape = lambda h: 1.5 - 0.5 * math.exp(-6 * h) + 0.045 * h  # noqa: E731
    assert judged(shape, hours=5).state == LEAKING


@pytest.mark.parametrize("at_hours", [0.5, 3.0, 6.5, 7.9])
def test_one_step_is_no_leak(at_hours):
    assert judged(lambda h: 1 + 0.4 * (h > at_hours)).state == STEADY


def test_what_comes_back_down_is_no_leak():
    assert judged(lambda h: 1 + 0.3 * ((h * 4) % 1)).state == STEADY


def test_a_leak_under_teeth_is_found_on_the_floor():
    verdict = judged(lambda h: 1 + 0.06 * h + 0.4 * ((h * 4.7) % 1), hours=5)
    assert verdict.state == LEAKING
    assert verdict.growth_bytes_per_hour == pytest.approx(0.06 * BASE, rel=0.2)


def test_a_leak_under_batches_that_come_and_go_is_found():
    batches = ((2.5, 2.8), (4.0, 4.2), (5.5, 5.7), (7.0, 7.2))
    busy = lambda h: any(a < h < b for a, b in batches)  # noqa: E731
    assert judged(lambda h: 1 + 0.06 * h + 0.5 * busy(h)).state == LEAKING


def test_even_wide_random_walks_are_seldom_called_leaks():
    called = 0
    seconds = minutes(3.5)
    for seed in range(150):
        rng = Random(seed)
        level, memory = 1.0, []
        for _ in seconds:
            level += 0.0015 * rng.gauss(0, 1)  # 1.2 % in an hour
            memory.append(BASE * level)
        verdict = assess(seconds, memory, completed=even(seconds))
        called += verdict.state == LEAKING
    assert called <= 8


def test_a_cache_that_still_fills_but_ever_more_slowly_only_grows():
    assert judged(lambda h: 2 - math.exp(-h / 2), hours=5).state == GROWING


def test_a_leak_that_begins_late_is_found():
    assert judged(lambda h: 1 + 0.06 * max(0, h - 4)).state == LEAKING


def test_the_first_samples_may_be_late():
    seconds = minutes(30, start_hours=26)
    leak = series(seconds, lambda h: 1 + 0.06 * (h - 26))
    assert assess(seconds, leak, completed=even(seconds)).state == LEAKING
    short = sum(s < 27.1 * HOUR for s in seconds)
    verdict = assess(seconds[:short], leak[:short], completed=even(seconds[:short]))
    assert verdict.state == GROWING


# --- Traffic ------------------------------------------------------------------


def with_traffic(level, rate, hours=8.0, follows=0.0):
    """Memory that has a level of its own, and a part in step with the traffic."""
    seconds = minutes(hours)
    done, completed = 0.0, []
    for s in seconds:
        done += 60 * rate(s / HOUR)
        completed.append(done)
    memory = series(seconds, lambda h: level(h) + follows * rate(h) / rate(0))
    return seconds, memory, completed


def test_memory_that_goes_with_traffic_is_no_leak():
    morning = lambda h: 20 * (1 + 0.25 * h)  # noqa: E731
    seconds, memory, completed = with_traffic(lambda h: 0.4, morning, follows=0.6)
    assert assess(seconds, memory, completed=completed).state != LEAKING
    # The same memory under even traffic is one.
    assert assess(seconds, memory, completed=even(seconds)).state == LEAKING


def test_without_traffic_a_mornings_growth_only_grows():
    seconds, memory, _ = with_traffic(lambda h: 1 + 0.06 * h, lambda h: 20)
    assert assess(seconds, memory).state == GROWING


def test_without_traffic_what_outlasts_a_day_leaks():
    seconds = minutes(27)
    leak = series(seconds, lambda h: 1 + 0.06 * h)
    assert assess(seconds, leak).state == LEAKING
    for phase in range(0, 24, 3):
        turn = lambda h, p=phase: math.sin(2 * math.pi * (h + p) / 24)  # noqa: E731
        day = series(seconds, lambda h, turn=turn: 1 + 0.3 * turn(h))
        assert assess(seconds, day).state != LEAKING


def test_an_idle_process_can_leak():
    seconds = minutes(8)
    leak = series(seconds, lambda h: 1 + 0.06 * h)
    assert assess(seconds, leak, completed=[7] * len(seconds)).state == LEAKING


def test_falling_traffic_does_not_excuse_growth():
    night = lambda h: 20 * (1 - 0.08 * h)  # noqa: E731
    seconds, memory, completed = with_traffic(lambda h: 1 + 0.06 * h, night)
    verdict = assess(seconds, memory, completed=completed)
    assert verdict.state == LEAKING
    low, high = verdict.interval
    assert low < verdict.growth_bytes_per_hour < high


# --- Figures ------------------------------------------------------------------


def test_the_forecast_counts_from_the_recent_peak():
    verdict = judged(
        lambda h: 1 + 0.05 * h + 0.2 * ((h * 12) % 1), limit_bytes=3 * BASE
    )
    assert verdict.state == LEAKING
    peak = 1 + 0.05 * 8 + 0.2
    assert verdict.seconds_to_limit == pytest.approx((3 - peak) / 0.05 * HOUR, rel=0.08)


def test_there_is_no_forecast_without_growth_or_limit():
    assert judged(lambda h: 1.0, limit_bytes=3 * BASE).seconds_to_limit is None
    assert judged(lambda h: 1 + 0.06 * h).seconds_to_limit is None


def test_a_limit_that_is_passed_is_no_time_away():
    verdict = judged(lambda h: 1 + 0.06 * h, limit_bytes=BASE)
    assert verdict.seconds_to_limit == 0.0


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = Random(seed)
        seconds = minutes(rng.uniform(4, 8), step_seconds=120)
        rate, noise = rng.uniform(0.02, 0.1), rng.uniform(0.001, 0.01)
        memory = series(seconds, lambda h, r=rate: 1 + r * h, noise, seed)
        verdict = assess(seconds, memory)
        low, high = verdict.interval
        assert low <= verdict.growth_bytes_per_hour <= high
        held += low <= rate * BASE <= high
    assert held >= 186  # 95 of 100 are 190; 186 leaves room for chance


def test_the_lower_end_leaves_out_what_traffic_may_explain():
    morning = lambda h: 20 * (1 + 0.25 * h)  # noqa: E731
    seconds, memory, completed = with_traffic(lambda h: 0.4, morning, follows=0.6)
    verdict = assess(seconds, memory, completed=completed)
    assert verdict.interval[0] < 0 < 0.1 * BASE < verdict.interval[1]


# --- What must not matter -----------------------------------------------------


def test_equal_input_gives_equal_output():
    assert judged(lambda h: 1 + 0.04 * h) == judged(lambda h: 1 + 0.04 * h)


@pytest.mark.parametrize("factor", [0.5, 3.0])
@pytest.mark.parametrize("slope", [0.0, 0.04])
def test_the_unit_does_not_matter(factor, slope):
    seconds = minutes(8)
    memory = series(seconds, lambda h: 1 + slope * h)
    completed = even(seconds)
    plain = assess(seconds, memory, completed=completed)
    scaled = assess(seconds, [factor * m for m in memory], completed=completed)
    assert scaled.state == plain.state
    assert scaled.growth_bytes_per_hour == pytest.approx(
        factor * plain.growth_bytes_per_hour
    )


def test_the_age_of_a_process_past_warm_up_does_not_matter():
    seconds = minutes(8, start_hours=2)
    memory = series(seconds, lambda h: 1 + 0.04 * h)
    completed = even(seconds)
    later = [s + 50 * HOUR for s in seconds]
    assert assess(later, memory, completed=completed) == assess(
        seconds, memory, completed=completed
    )


def test_gaps_and_uneven_samples_do_not_matter():
    rng = Random(3)
    kept = [s for s in minutes(8) if not 3 < s / HOUR < 3.7 and rng.random() < 0.4]
    for slope, state in ((0.0, STEADY), (0.06, LEAKING)):
        memory = series(kept, lambda h, r=slope: 1 + r * h)
        assert assess(kept, memory, completed=even(kept)).state == state


def test_whole_numbers_will_do():
    seconds = list(range(60, 8 * 3600, 60))
    memory = [BASE + 4000 * s for s in seconds]
    verdict = assess(seconds, memory, completed=seconds, limit_bytes=10 * BASE)
    assert verdict.state == LEAKING
    assert verdict.growth_bytes_per_hour == pytest.approx(4000 * HOUR)


# --- Wrong input --------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "used", "options"),
    [
        ([1, 2], [1], {}),
        ([1, 2], [1, 2], {"completed": [1]}),
        ([2, 1], [1, 2], {}),
        ([1, 1], [1, 2], {}),
        ([1, math.nan], [1, 2], {}),
        ([math.nan], [1], {}),
        ([1, math.inf], [1, 2], {}),
        ([1, 2], [1, math.nan], {}),
        ([1, 2], [1, -1], {}),
        ([1, 2], [1, math.inf], {}),
        ([1, 2], [1, 2], {"completed": [2, 1]}),
        ([1, 2], [1, 2], {"completed": [0, math.nan]}),
        ([1, 2], [1, 2], {"limit_bytes": 0}),
        ([1, 2], [1, 2], {"limit_bytes": math.nan}),
    ],
)
def test_wrong_input_is_refused(seconds, used, options):
    with pytest.raises(ValueError, match=r"\w"):
        assess(seconds, used, **options)


# --- Suspects -----------------------------------------------------------------


def readings(level, hours=8.0, noise=0.1, seed=1):
    """Live bytes as the sampler knows them: every five minutes, roughly."""
    rng = Random(seed)
    return [
        (s, max(0.0, MIB * level(s / HOUR) * (1 + noise * rng.gauss(0, 1))))
        for s in minutes(hours, step_seconds=300)
    ]


def completions(hours=8.0, per_second=1.0):
    return [s * per_second for s in minutes(hours, step_seconds=300)]


def test_who_grows_is_named_and_who_is_large_is_not():
    live = {
        ("get_product_list", "GET /recommend"): readings(lambda h: 5 + 4 * h),
        ("load_model", "GET /first"): readings(lambda h: 300.0, noise=0.02),
        ("imports", "GET /first"): readings(lambda h: 23.0 if h > 0.3 else 0.0),
        ("serialize", "GET /recommend"): readings(lambda h: 1.0),
    }
    done = dict.fromkeys(live, completions())
    (suspect,) = suspects(live, done)
    assert (suspect.span, suspect.entry) == ("get_product_list", "GET /recommend")
    assert suspect.growth_bytes_per_hour == pytest.approx(4 * MIB, rel=0.25)
    assert suspect.bytes_per_completion == pytest.approx(4 * MIB / 3600, rel=0.25)
    assert suspect.growth_bytes == pytest.approx(24 * MIB, rel=0.25)
    assert suspect.live_bytes == live[suspect.span, suspect.entry][-1][1]
    assert suspect.age_seconds is None


def test_the_faster_comes_first_whatever_its_size():
    live = {
        ("a", "x"): readings(lambda h: 100 + 2 * h, noise=0.01),
        ("b", "x"): readings(lambda h: 1 + 8 * h),
    }
    ranked = suspects(live, {})
    assert [suspect.span for suspect in ranked] == ["b", "a"]
    assert ranked[0].bytes_per_completion is None


def test_memory_in_step_with_its_own_traffic_is_not_suspected():
    rising, done = [], 0.0
    for s in minutes(8, step_seconds=300):
        done += 300 * (1 + s / HOUR)
        rising.append(done)
    live = {("handle", "GET /"): readings(lambda h: 10 * (1 + h), noise=0.02)}
    assert suspects(live, {("handle", "GET /"): rising}) == []
    assert suspects(live, {("handle", "GET /"): completions()}) != []


def test_what_its_traffic_may_explain_is_taken_off_a_suspects_growth():
    pair = ("handle", "GET /")
    rising, done = [], 0.0
    for s in minutes(8, step_seconds=300):
        done += 300 * (1 + 0.05 * s / HOUR)
        rising.append(done)
    live = {pair: readings(lambda h: 10 + 4 * h, noise=0.02)}
    (less,) = suspects(live, {pair: rising})
    (more,) = suspects(live, {pair: completions()})
    assert less.growth_bytes_per_hour < 0.8 * more.growth_bytes_per_hour


def test_what_is_born_while_the_process_warms_up_does_not_count():
    live = {("cache", "GET /"): readings(lambda h: 40 * min(h, 1) + h, noise=0.0)}
    (suspect,) = suspects(live, {})
    assert suspect.growth_bytes == pytest.approx(6 * MIB, rel=0.1)


def test_memory_too_young_to_have_been_kept_is_not_suspected():
    pair = ("queue", "GET /")
    live = {pair: readings(lambda h: 10 + 4 * h)}
    assert suspects(live, {}, {pair: 30.0}) == []
    (suspect,) = suspects(live, {}, {pair: 3 * HOUR})
    assert suspect.age_seconds == 3 * HOUR


def test_a_history_of_minutes_is_ranked_too():
    live = {
        ("leak", "x"): [(10.0 * i, 1e6 * (5 + i)) for i in range(1, 31)],
        ("calm", "x"): [(10.0 * i, 9e6) for i in range(1, 31)],
        ("short", "x"): [(10.0 * i, 1e6 * i) for i in range(1, 8)],
    }
    assert [suspect.span for suspect in suspects(live, {})] == ["leak"]


def test_no_pairs_no_suspects_and_wrong_readings_are_refused():
    assert suspects({}, {}) == []
    with pytest.raises(ValueError, match="increase"):
        suspects({("a", "x"): [(2.0, 1.0), (1.0, 1.0)]}, {})
    with pytest.raises(ValueError, match="completed"):
        suspects({("a", "x"): [(1.0, 1.0), (2.0, 1.0)]}, {("a", "x"): [1.0]})


def test_a_suspect_can_be_compared_and_not_changed():
    suspect = Suspect("a", "x", 1.0, 2.0, None, 3.0)
    assert suspect == Suspect("a", "x", 1.0, 2.0, None, 3.0)
    with pytest.raises(AttributeError):
        suspect.span = "b"


# --- Simulated shapes ---------------------------------------------------------


@pytest.fixture(scope="module")
def shapes():
    path = Path(__file__).parents[2] / "benchmarks" / "leak_shapes.py"
    spec = importlib.util.spec_from_file_location("leak_shapes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["leak_shapes"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["leak_shapes"]


def final_state(module, name, leak, seed):
    shape = next(shape for shape in module.SHAPES if shape.name == name)
    run = module.make_run(module.World(), Random(f"test {seed}"), shape, leak)
    curve = run[-1]
    return assess(curve.seconds, curve.used_bytes, completed=curve.completed).state


@pytest.mark.parametrize(
    "name", ["flat", "noise", "warm-up", "filling cache", "one step", "ratchet"]
)
def test_simulated_shapes_are_told_from_leaks(shapes, name):
    benign = [final_state(shapes, name, 0.0, seed) for seed in range(12)]
    leaks = [final_state(shapes, name, 0.06, seed) for seed in range(12)]
    assert LEAKING not in benign
    assert leaks.count(LEAKING) >= 11
    assert set(benign) | set(leaks) <= set(STATES)


@pytest.mark.parametrize(
    "name", ["AR(1) noise", "GC teeth", "deploys", "part of a day", "rising traffic"]
)
def test_other_simulated_shapes_are_not_called_leaks(shapes, name):
    assert LEAKING not in [final_state(shapes, name, 0.0, seed) for seed in range(12)]


@pytest.mark.parametrize("leak", [0.03, 0.30])
def test_a_process_younger_than_three_hours_is_never_called_leaking(shapes, leak):
    shape = shapes.SHAPES[0]
    (curve,) = shapes.make_run(shapes.World(), Random("young"), shape, leak)
    count = sum(s < 3 * HOUR for s in curve.seconds)
    for k in range(10, count, 5):
        verdict = assess(
            curve.seconds[:k], curve.used_bytes[:k], completed=curve.completed[:k]
        )
        assert verdict.state in (NOT_ENOUGH_DATA, WARMING_UP, STEADY)


@pytest.mark.parametrize(
    ("limit", "usage", "own", "room"),
    [
        (512, 300, 100, 312),  # others hold 200
        (512, 100, 100, 512),  # alone
        (512, 90, 100, 512),  # what it shares counts elsewhere
        (512, 900, 100, 1),  # there is none, and no limit is another thing
        (512, None, 100, 512),
        (512, 300, None, 512),
        (None, 300, 100, None),
    ],
)
def test_what_others_of_a_container_hold_is_no_room(limit, usage, own, room):
    assert room_bytes(limit, usage, own) == room
