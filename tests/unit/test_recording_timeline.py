# SPDX-License-Identifier: Apache-2.0
"""Timelines keep what was largest, however long a run was."""

from __future__ import annotations

from itertools import pairwise

import pytest

from otel_memory import semconv
from otel_memory.recording.otlp import Point
from otel_memory.recording.timeline import (
    LIVE_TIMELINES_MAX,
    POINTS_MAX,
    LiveTimeline,
    ProcessTimeline,
    TimelineBuilder,
)

START_SECONDS = 1_000_000.0


def rss(pid, seconds, rss_bytes, metric=semconv.PROCESS_RSS):
    return Point(pid, metric.name, {}, rss_bytes, START_SECONDS + seconds)


def live(
    pid, seconds, name, live_bytes, *, sort="span", kind="INTERNAL", entry="GET /"
):
    values = (name, kind, entry, sort)
    attributes = dict(zip(semconv.SPAN_ROW_ATTRIBUTES, values, strict=True))
    time_seconds = START_SECONDS + seconds
    return Point(pid, semconv.SPAN_LIVE.name, attributes, live_bytes, time_seconds)


def built(*reports):
    builder = TimelineBuilder()
    for report in reports:
        builder.add(report[0].pid, list(report))
    return builder


def lives(*reports):
    timelines = built(*reports).live(START_SECONDS)
    return {each.name: (each.seconds, each.live_bytes) for each in timelines}


def test_a_process_has_its_figures_by_time_and_none_where_it_did_not_tell():
    builder = built(
        [
            rss(17, 1, 100),
            rss(17, 1, 80, semconv.PROCESS_ANONYMOUS),
            rss(17, 1, 60, semconv.HEAP_USAGE),
        ],
        [rss(18, 1.5, 7)],
        [rss(17, 2, 110), rss(17, 2, 512, semconv.LIMIT)],
    )
    assert builder.processes(START_SECONDS) == (
        ProcessTimeline(17, (1, 2), (100, 110), (80, None), (60, None), (None, 512)),
        ProcessTimeline(18, (1.5,), (7,), (None,), (None,), (None,)),
    )
    assert builder.first_seconds() == START_SECONDS + 1


def test_reports_without_a_figure_or_a_time_are_left_out():
    timeless = Point(1, semconv.PROCESS_RSS.name, {}, 100, None)
    uptime = Point(1, semconv.PROCESS_UPTIME.name, {}, 3.5, START_SECONDS)
    huge = rss(1, 1, 2**64)
    builder = built([timeless], [uptime], [huge])
    assert builder.processes(START_SECONDS) == ()
    assert builder.live(START_SECONDS) == ()
    assert builder.first_seconds() is None


def test_time_never_goes_back():
    builder = built([rss(1, 5, 100)], [rss(1, 4, 200)])
    (timeline,) = builder.processes(START_SECONDS)
    assert timeline.seconds == (5, 5)


@pytest.mark.parametrize("readings", [1000, 1001, 1999, 2001, 2002, 10_007])
def test_thinning_keeps_every_maximum_and_the_order(readings):
    peaks = {0: 9_001, readings // 3: 9_002, readings - 2: 9_003, readings - 1: 9_004}
    figures = [peaks.get(at, at * 7 % 50) for at in range(readings)]
    builder = built(*([rss(1, at, figure)] for at, figure in enumerate(figures)))
    (timeline,) = builder.processes(START_SECONDS)
    assert POINTS_MAX / 2 <= len(timeline.seconds) <= POINTS_MAX
    assert len(timeline.rss_bytes) == len(timeline.seconds)
    width = max(b - a for a, b in pairwise(timeline.seconds))
    ends = [*timeline.seconds[1:], readings]
    for begin, end, most_bytes in zip(
        timeline.seconds, ends, timeline.rss_bytes, strict=True
    ):
        assert most_bytes == max(figures[int(begin) : int(end)])
        assert end - begin <= width
    assert timeline.seconds[0] == 0
    # Points cover equally long times, the last one excepted.
    assert len({b - a for a, b in pairwise(timeline.seconds)}) == 1


def test_what_is_unknown_in_one_of_two_neighbours_is_known_of_both():
    reports = [[rss(1, at, 5)] for at in range(POINTS_MAX)]
    reports[700].append(rss(1, 700, 77, semconv.LIMIT))
    reports.append([rss(1, POINTS_MAX, 5)])
    (timeline,) = built(*reports).processes(START_SECONDS)
    known = [each for each in timeline.limit_bytes if each is not None]
    assert known == [77]
    assert set(timeline.rss_bytes) == {5}


def test_live_bytes_are_summed_by_name_over_entries_kinds_and_processes():
    figures = lives(
        [
            live(1, 1, "list", 10),
            live(1, 1, "list", 5, entry="GET /b", kind="SERVER"),
            live(1, 1, "list", 1000, sort="no-span"),
        ],
        [live(2, 2, "list", 100)],
        [live(1, 3, "list", 20)],
    )
    assert built([live(1, 1, "list", 10)]).live(START_SECONDS) == (
        LiveTimeline("span", "list", (1,), (10,)),
    )
    assert figures["list"] == ((1, 2, 3), (15, 115, 120))


def test_names_are_those_with_the_largest_live_bytes_at_any_time():
    count = LIVE_TIMELINES_MAX + 5
    figures = lives(
        [live(1, 1, "early", 10_000), live(1, 1, "never", 0)],
        [live(1, 2, "early", 1)] + [live(1, 2, f"n{n}", 10 + n) for n in range(count)],
    )
    assert lives([live(1, 1, "never", 0)]) == {}
    expected = ["early", *(f"n{n}" for n in reversed(range(6, count)))]
    assert list(figures) == expected
    assert figures["early"] == ((1, 2), (10_000, 1))
    assert figures[f"n{count - 1}"] == ((1, 2), (None, 10 + count - 1))


def test_a_process_that_is_silent_holds_nothing_any_more():
    figures = lives(
        [live(1, 0, "list", 100), live(1, 0, "other", 7)],
        [live(2, 20, "list", 5)],
        [live(2, 40, "list", 6)],
    )
    assert figures["list"] == ((0, 20, 40), (100, 105, 6))
    assert figures["other"] == ((0, 20, 40), (7, 7, None))
