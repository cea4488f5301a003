# SPDX-License-Identifier: Apache-2.0
"""A recording of hours becomes a verdict; whatever is in it, it becomes one."""

from __future__ import annotations

import json

import pytest

from otel_memory import semconv
from otel_memory.recording.file import Start
from otel_memory.recording.fold import SummaryBuilder, summarise

from .verdict_support import (
    HOUR,
    LARGE,
    LEAKY,
    MIB,
    START_SECONDS,
    Process,
    alert,
    event,
    line,
    lines_of,
    metric,
    pair,
    write,
)

LEAKING = Process(17, growth=0.06)
STEADY = Process(18)


def summed(*lines):
    builder = SummaryBuilder(Start(("python", "app.py"), "/srv", START_SECONDS))
    for each in lines:
        builder.add(each)
    return builder.build(4 * HOUR).to_dict()


def verdict(*processes, **options):
    return summed(*lines_of(*processes, **options))["verdict"]


def test_a_leak_is_called_one_and_points_at_the_pair_that_bears_it(tmp_path):
    process = Process(17, growth=0.06, limit_bytes=1024 * MIB)
    found = summarise(write(tmp_path / "run.jsonl", process)).to_dict()
    said = found["verdict"]
    assert said["state"] == "leaking"
    assert said["growth_bytes_per_hour"] == pytest.approx(24 * MIB, rel=0.1)
    low, high = said["interval"]
    assert low < 24 * MIB < high
    # Of the anonymous memory, which is at 496 MiB then.
    left_hours = (1024 - 496) / 24
    assert said["seconds_to_limit"] == pytest.approx(left_hours * HOUR, rel=0.1)
    (suspect,) = said["suspects"]
    assert (suspect["span"], suspect["entry"]) == (LEAKY[0], LEAKY[2])
    assert suspect["growth_bytes_per_hour"] == pytest.approx(24 * MIB, rel=0.05)
    assert suspect["live_bytes"] == 98 * MIB
    assert (said["pid"], said["processes"]) == (17, 1)
    assert found["processes"][0]["state"] == "leaking"
    assert found["start_seconds"] == START_SECONDS


def test_what_does_not_grow_is_steady():
    said = verdict(STEADY)
    assert said["state"] == "steady"
    assert said["suspects"] == []


def test_the_worst_process_speaks_for_the_run():
    others = (Process(19, growth=0.03), Process(20, until=0.5 * HOUR))
    found = summed(*lines_of(STEADY, LEAKING, *others))
    said = found["verdict"]
    assert (said["state"], said["pid"]) == ("leaking", 17)
    assert said["processes"] == 2
    assert [each["span"] for each in said["suspects"]] == [LEAKY[0]]
    states = {each["pid"]: each["state"] for each in found["processes"]}
    assert states == {
        17: "leaking",
        18: "steady",
        19: "leaking",
        20: "not-enough-data",
    }


def test_a_short_run_ranks_by_what_is_held_where_nothing_grows():
    said = verdict(Process(until=600.0))
    assert said["state"] == "not-enough-data"
    assert said["growth_bytes_per_hour"] is None
    assert [
        (s["span"], s["growth_bytes_per_hour"], s["live_bytes"])
        for s in said["suspects"]
    ] == [(LARGE[0], None, 250 * MIB), (LEAKY[0], None, 2 * MIB)]


def test_a_young_process_is_warming_up():
    assert verdict(Process(growth=0.06, until=2 * HOUR))["state"] == "warming-up"


def test_without_counted_spans_growth_is_not_called_a_leak():
    """For nothing tells it from a morning's traffic."""
    said = verdict(Process(growth=0.06, is_counted=False))
    assert said["state"] == "growing"
    assert said["suspects"] == []


def test_spans_that_begin_late_and_counters_that_fall_silent_are_counted_throughout():
    lines = list(lines_of(LEAKING))
    source = dict(
        zip(semconv.HEAP_SOURCE.attributes, ("native", "", False), strict=True)
    )
    for each in lines[:3] + lines[-1:]:
        (part,) = each["resourceMetrics"]
        scope = part["scopeMetrics"][0]
        names = (semconv.SPAN_COUNT.name, semconv.SPAN_LIVE.name)
        scope["metrics"] = [m for m in scope["metrics"] if m["name"] not in names]
        scope["metrics"].append(metric(semconv.HEAP_SOURCE, 0, [(1, source)]))
    assert summed(*lines)["verdict"]["state"] == "leaking"


def test_completions_before_a_name_got_a_row_count_as_traffic_of_their_time():
    """Else the name's first row would be a burst, and excuse the growth."""
    said = verdict(Process(growth=0.06, admitted=2.5 * HOUR))
    assert said["state"] == "leaking"
    assert [each["span"] for each in said["suspects"]] == [LEAKY[0]]


def test_without_an_uptime_the_first_report_stands_for_the_start():
    process = Process(growth=0.06, has_uptime=False)
    assert verdict(process)["state"] == "leaking"


def test_a_process_that_ran_before_the_run_is_as_old_as_it_says():
    """So an hour and a half is no warm-up of a process that is 30 hours old."""
    lines = list(lines_of(Process(growth=0.06, begin=-30 * HOUR, until=0)))
    assert summed(*lines[-180:])["verdict"]["state"] == "leaking"
    young = Process(growth=0.06, until=1.5 * HOUR)
    assert verdict(young)["state"] == "warming-up"


@pytest.mark.parametrize("has_uptime", [True, False])
def test_another_process_of_the_same_number_is_judged_anew(has_uptime):
    first = Process(17, has_uptime=has_uptime)
    again = Process(17, 0.06, begin=4 * HOUR, until=8 * HOUR, has_uptime=has_uptime)
    said = verdict(first, again)
    assert said["state"] == "leaking"
    assert said["processes"] == 1


@pytest.mark.parametrize("has_uptime", [True, False])
def test_the_worst_of_two_processes_of_one_number_counts(has_uptime):
    again = Process(17, begin=4 * HOUR, until=8 * HOUR, has_uptime=has_uptime)
    said = verdict(Process(17, 0.06, has_uptime=has_uptime), again)
    assert said["state"] == "leaking"
    assert [each["span"] for each in said["suspects"]] == [LEAKY[0]]


def test_reports_that_overtake_one_another_are_no_new_process():
    lines = list(lines_of(LEAKING))
    for index in range(5, len(lines) - 1, 20):
        lines[index : index + 2] = lines[index + 1 : index - 1 : -1]
    assert summed(*lines)["verdict"]["state"] == "leaking"


@pytest.mark.parametrize(
    ("what", "value"),
    [
        (semconv.PROCESS_UPTIME, "NaN"),
        (semconv.PROCESS_UPTIME, -5.0),
        (semconv.PROCESS_UPTIME, 1e308),
        (semconv.PROCESS_ANONYMOUS, -(2**62)),
        (semconv.PROCESS_ANONYMOUS, 10**30),
        (semconv.LIMIT, 0),
        (semconv.LIMIT, -1),
        (semconv.SPAN_COUNT, -7),
        (semconv.SPAN_LIVE, -7),
    ],
)
def test_figures_that_cannot_be_are_no_error(what, value):
    broken = metric(what, HOUR, [(value, pair(LEAKY))])
    if value == "NaN":
        broken["gauge"]["dataPoints"][0] = {"asDouble": "NaN"}
    lines = list(lines_of(LEAKING))
    lines[100]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].append(broken)
    said = summed(*lines, line(17, [broken]))["verdict"]
    assert said["state"] in semconv.LEAK_STATES
    json.dumps(said, allow_nan=False)


def states(lines, first, **options):
    """Sum up after each line from a certain one on."""
    builder = SummaryBuilder(Start((), "", START_SECONDS), **options)
    found = []
    for index, each in enumerate(lines):
        builder.add(each)
        if index >= first:
            found.append(builder.build(None).verdict.state)
    return found


def test_a_live_view_judges_again_after_a_minute_only():
    process = Process(growth=0.06, until=1.1 * HOUR)
    lines = list(lines_of(process, step_seconds=20.0))
    changed = states(lines, 0).index("warming-up")
    seen = states(lines, changed - 1, assess_every_seconds=60.0)
    assert seen[:4] == 3 * ["not-enough-data"] + ["warming-up"]


def test_alerts_are_read_with_what_they_found():
    recovered = alert(
        3.7 * HOUR,
        "Leak: recovered.",
        name=semconv.EVENT_RECOVERED,
        **{semconv.ATTR_ALERT_SUSPECTS: []},
    )
    raised = alert(3.5 * HOUR, "Memory leaks.")
    found = summed(recovered, raised, event(17, 1.0, "otel_memory.else", "x"))
    assert found["alerts"] == [
        {
            "time_seconds": START_SECONDS + 3.5 * HOUR,
            "pid": 17,
            "event": "otel_memory.leak.suspected",
            "kind": "leak",
            "message": "Memory leaks.",
            "suspects": ["get_product_list (GET /recommend) +24.0 MiB/h"],
            "top_sites": ["shop/cache.py:60 get_product_list 86.5 MiB"],
        },
        {
            "time_seconds": START_SECONDS + 3.7 * HOUR,
            "pid": 17,
            "event": "otel_memory.recovered",
            "kind": "leak",
            "message": "Leak: recovered.",
            "suspects": [],
            "top_sites": ["shop/cache.py:60 get_product_list 86.5 MiB"],
        },
    ]


def test_the_last_hundred_alerts_are_kept_and_a_note_says_so():
    builder = SummaryBuilder(Start((), "", START_SECONDS))
    for number in range(130):
        builder.add(alert(number, f"Alert {number}."))
    summary = builder.build(None)
    messages = [each.message for each in summary.alerts]
    assert messages == [f"Alert {number}." for number in range(30, 130)]
    assert summary.notes == ("The first 30 alerts are left out.",)


@pytest.mark.parametrize("body", [{}, {"intValue": "7"}, {"arrayValue": 3}, None])
def test_an_alert_of_another_shape_is_no_error(body):
    broken = alert(
        1.0,
        "",
        **{
            semconv.ATTR_ALERT_KIND: 7,
            semconv.ATTR_ALERT_SUSPECTS: "one",
            semconv.ATTR_ALERT_TOP_SITES: [1, "y" * 9999, "", *"z" * 500],
        },
    )
    record = broken["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    record["body"] = body
    record["observedTimeUnixNano"] = "soon"
    (found,) = summed(broken)["alerts"]
    assert found["message"] == "A leak is suspected."
    assert (found["time_seconds"], found["kind"], found["suspects"]) == (None, "", [])
    assert [len(text) for text in found["top_sites"]] == [1000] + 7 * [1]
