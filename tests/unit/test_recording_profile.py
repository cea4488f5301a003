# SPDX-License-Identifier: Apache-2.0
"""A profile event is read as whole stacks; what it lacks is unknown, never zero."""

from __future__ import annotations

import json

import pytest

from otel_memory.recording.otlp import Event
from otel_memory.recording.profile import PairFigures, PairKey, Stack, read_profile
from otel_memory.recording.series import ProfileSeries, SiteKey
from otel_memory.semconv import ATTR_PROFILE_FINAL, EVENT_HEAP_PROFILE
from otel_memory.sites import Frame

LIST = PairKey("get_product_list", "INTERNAL", "GET /recommend", "span")
FRAMES = [
    ["/usr/lib/python3.11/json/decoder.py", 337, "decode"],
    ["/srv/shop/cache.py", 41, "get_product_list"],
]
STACK = {
    **LIST._asdict(),
    "frames": [0, 1],
    "live_bytes": 1000,
    "samples": 2,
    "age_seconds": 700,
    "age_mean_seconds": 355.5,
    "completed_mean": 12.25,
    "live_bytes_by_age": [500, 0, 0, 500, 0],
    "trace_id": "0AF7651916CD43DD8448EB211C80319C",
    "span_id": "b7ad6b7169203331",
}
PAIR = {
    **LIST._asdict(),
    "count": 7,
    "allocated_bytes": 5000,
    "live_bytes": 1500,
    "live_samples": 3,
}
BODY = {
    "schema": 1,
    "rate_bytes": 524288,
    "frames": FRAMES,
    "pairs": [PAIR],
    "stacks": [STACK],
}


def read(body, *, final=False, name=EVENT_HEAP_PROFILE):
    text = body if isinstance(body, str) else json.dumps(body)
    return read_profile(Event(17, name, {ATTR_PROFILE_FINAL: final}, text, 2000.5))


def read_stack(**fields):
    profile = read({**BODY, "stacks": [{**STACK, **fields}]})
    (stack,) = profile.stacks
    return stack


def test_everything_is_read():
    profile = read(BODY, final=True)
    assert profile.pid == 17
    assert profile.time_seconds == 2000.5
    assert profile.is_final
    assert profile.rate_bytes == 524288
    assert profile.pairs == {LIST: PairFigures(7, 5000, 1500, 3)}
    assert profile.stacks == (
        Stack(
            pair=LIST,
            frames=(Frame(*FRAMES[0]), Frame(*FRAMES[1])),
            live_bytes=1000,
            samples=2,
            age_seconds=700,
            age_mean_seconds=355.5,
            completed_mean=12.25,
            live_bytes_by_age=(500, 0, 0, 500, 0),
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
        ),
    )


def test_what_an_older_recording_lacks_is_unknown():
    old = {key: STACK[key] for key in ("span", "entry", "frames", "live_bytes")}
    profile = read({"schema": 1, "frames": FRAMES, "stacks": [{**old, "samples": 1}]})
    (stack,) = profile.stacks
    assert stack == Stack(
        PairKey("get_product_list", "", "GET /recommend", ""),
        (Frame(*FRAMES[0]), Frame(*FRAMES[1])),
        1000,
        1,
    )
    assert stack.age_seconds is None
    assert stack.live_bytes_by_age == ()
    assert profile.rate_bytes is None
    assert profile.pairs == {}
    assert not profile.is_final


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age_seconds", None),
        ("age_seconds", "long"),
        ("age_seconds", -1),
        ("age_seconds", True),
        ("age_seconds", 2**63),
        ("age_seconds", float("nan")),
        ("age_mean_seconds", "x"),
        ("age_mean_seconds", float("inf")),
        ("age_mean_seconds", -0.5),
        ("completed_mean", []),
        ("trace_id", 7),
        ("trace_id", "0" * 32),
        ("trace_id", "ab"),
        ("trace_id", "<script>" * 4),
        ("span_id", "0af7651916cd43dd8448eb211c80319c"),
    ],
)
def test_a_malformed_figure_is_unknown_and_the_stack_stays(field, value):
    stack = read_stack(**{field: value})
    assert getattr(stack, field) is None
    assert stack.live_bytes == 1000


@pytest.mark.parametrize(
    "split", [None, 5, [], [1, 2], [1, 2, 3, 4, None], [1, 2, 3, 4, -5], [0] * 6]
)
def test_a_split_by_age_is_whole_or_unknown(split):
    assert read_stack(live_bytes_by_age=split).live_bytes_by_age == ()


@pytest.mark.parametrize("field", ["live_bytes", "samples"])
@pytest.mark.parametrize("value", [None, "many", -1, 10**400])
def test_a_stack_that_does_not_say_what_it_holds_is_left_out(field, value):
    body = {**BODY, "stacks": [{**STACK, field: value}, STACK]}
    assert len(read(body).stacks) == 1


def test_frames_that_are_no_frames_are_passed_over_or_unknown():
    body = {**BODY, "frames": [*FRAMES, "x", ["/a.py", "?", None]]}
    indices = [99, -1, "x", None, 2, 3, 1]
    (stack,) = read({**body, "stacks": [{**STACK, "frames": indices}]}).stacks
    assert stack.frames == (
        Frame("?", None, None),
        Frame("/a.py", None, None),
        Frame(*FRAMES[1]),
    )
    assert read_stack(frames=None).frames == ()


def test_figures_of_a_pair_that_is_listed_twice_add_up():
    other = {**LIST._asdict(), "count": 1, "live_bytes": None}
    pairs = read({**BODY, "pairs": [PAIR, other, None]}).pairs
    assert pairs == {LIST: PairFigures(8, 5000, 1500, 3)}


@pytest.mark.parametrize("rate", [0, -1, None, "fast", float("nan")])
def test_without_a_sampler_there_is_no_rate(rate):
    assert read({**BODY, "rate_bytes": rate}).rate_bytes is None


@pytest.mark.parametrize("body", ["", "{", "[]", "7", "[" * 100_000, "9" * 5000])
def test_a_body_that_cannot_be_read_is_no_profile(body):
    assert read(body) is None


def test_another_event_is_no_profile():
    assert read(BODY, name="otel_memory.alert") is None


def series(*stack_lists):
    found = ProfileSeries("/srv")
    for stacks in stack_lists:
        found.add(read({**BODY, "stacks": stacks}))
    return found


SITE = SiteKey(LIST.span, LIST.entry, Frame("shop/cache.py", *FRAMES[1][1:]))


def test_growth_of_a_site_and_a_package_is_last_minus_first():
    found = series(
        [STACK, {**STACK, "live_bytes": 50}], [{**STACK, "live_bytes": 3000}]
    )
    assert found.site_growth_bytes(SITE) == 3000 - 1050
    assert found.package_growth_bytes("json") == 3000 - 1050


def test_what_was_seen_once_or_is_gone_has_no_growth():
    assert series([STACK]).site_growth_bytes(SITE) is None
    assert series([STACK], [STACK], []).site_growth_bytes(SITE) is None


def test_stacks_that_only_a_last_profile_has_room_for_are_no_growth():
    large = [{**STACK, "live_bytes": 1000 + n} for n in range(200)]
    small = [{**STACK, "live_bytes": 10, "frames": [1]} for _ in range(1800)]
    found = series(large, [*small, *large])
    assert found.site_growth_bytes(SITE) == 0
    assert found.package_growth_bytes("json") == 0
    listed = found.stacks_by_site[SITE]
    assert sum(stack.live_bytes for stack in listed) > sum(range(1000, 1200))
