# SPDX-License-Identifier: Apache-2.0
"""A recording's figures become the JSON contract."""

from __future__ import annotations

import json

import pytest

from otel_memory import semconv
from otel_memory.recording.file import RecordingWriter, Start
from otel_memory.recording.fold import SummaryBuilder, summarise
from otel_memory.recording.otlp import write_attributes

START = Start(("python", "app.py"), "/srv", 0.0)
LIST = ("get_product_list", "INTERNAL", "GET /recommend", "span")
LIST_ELSEWHERE = ("get_product_list", "INTERNAL", "GET /", "span")
ENTRY = ("GET /recommend", "SERVER", "GET /recommend", "span")
LATER = ("GET /recommend (after end)", "", "GET /recommend", "after-end")
NO_SPAN = ("(no span)", "", "(no span)", "no-span")
GC = ("(gc)", "", "(gc)", "gc")


def report(pid, *metrics):
    resource = {"attributes": write_attributes({"process.pid": pid})}
    scope = {"scope": {"name": "otel_memory"}, "metrics": list(metrics)}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}


def number(metric, value, **attributes):
    point = {"asInt": str(value), "attributes": write_attributes(attributes)}
    return {"name": metric.name, "sum": {"dataPoints": [point]}}


def by_pair(metric, figures):
    points = [
        {
            "asInt": str(value),
            "attributes": write_attributes(
                dict(zip(semconv.SPAN_ROW_ATTRIBUTES, pair, strict=True))
            ),
        }
        for pair, value in figures.items()
    ]
    return {"name": metric.name, "gauge": {"dataPoints": points}}


def profile(pid, body, *, final=False, schema=1):
    resource = {"attributes": write_attributes({"process.pid": pid})}
    record = {
        "eventName": semconv.EVENT_HEAP_PROFILE,
        "body": {"stringValue": json.dumps({"schema": schema, **body})},
        "attributes": write_attributes({semconv.ATTR_PROFILE_FINAL: final}),
    }
    scope = {"logRecords": [record]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}


def summed(*lines):
    builder = SummaryBuilder(START)
    for line in lines:
        builder.add(line)
    return builder.build(61.2).to_dict()


def only(rows, **fields):
    (row,) = [r for r in rows if all(r[k] == v for k, v in fields.items())]
    return row


def test_nothing_is_an_empty_summary_of_the_contract():
    assert summed() == {
        "schema": 1,
        "command": ["python", "app.py"],
        "duration_seconds": 61.2,
        "processes": [],
        "spans": [],
        "entries": [],
        "sites": [],
        "verdict": {
            "state": "not-enough-data",
            "growth_bytes_per_hour": None,
            "interval": None,
            "suspects": [],
            "seconds_to_limit": None,
            "pid": None,
            "processes": 0,
        },
        "packages": [],
        "start_seconds": None,
        "alerts": [],
    }


def test_a_process_has_its_first_last_and_peak_and_its_source():
    source = dict(
        zip(semconv.HEAP_SOURCE.attributes, ("native", "", False), strict=True)
    )
    figures = summed(
        report(
            17,
            number(semconv.PROCESS_RSS, 100),
            number(semconv.HEAP_SOURCE, 1, **source),
        ),
        report(
            17,
            number(semconv.PROCESS_RSS, 300),
            number(semconv.PROCESS_PEAK, 350),
            number(semconv.LIMIT, 512),
        ),
        report(17, number(semconv.PROCESS_RSS, 200)),
        profile(17, {}, final=True),
    )
    assert figures["processes"] == [
        {
            "pid": 17,
            "heap_source": "native",
            "native_covered": False,
            "rss_start_bytes": 100,
            "rss_end_bytes": 200,
            "rss_peak_bytes": 350,
            "limit_bytes": 512,
            "ended": "clean",
            "state": "not-enough-data",
            "growth_bytes_per_hour": None,
        }
    ]


def test_what_was_not_measured_is_null():
    figures = summed(report(17, by_pair(semconv.SPAN_COUNT, {LIST: 4})))
    assert figures["processes"][0] == {
        "pid": 17,
        "heap_source": None,
        "native_covered": None,
        "rss_start_bytes": None,
        "rss_end_bytes": None,
        "rss_peak_bytes": None,
        "limit_bytes": None,
        "ended": "unreported",
        "state": "not-enough-data",
        "growth_bytes_per_hour": None,
    }
    assert figures["spans"] == [
        {
            "sort": "span",
            "name": "get_product_list",
            "kind": "INTERNAL",
            "count": 4,
            "allocated_bytes": None,
            "peak_bytes_max": None,
            "live_bytes": None,
            "live_samples": None,
            "growth_bytes": None,
            "age_mean_seconds": None,
            "completed_mean": None,
            "live_bytes_by_age": [],
        }
    ]


def test_counters_count_with_the_last_report_of_each_process():
    figures = summed(
        report(1, by_pair(semconv.SPAN_ALLOCATED, {LIST: 10})),
        report(2, by_pair(semconv.SPAN_ALLOCATED, {LIST: 5})),
        report(1, by_pair(semconv.SPAN_ALLOCATED, {LIST: 30})),
    )
    assert only(figures["spans"])["allocated_bytes"] == 35
    assert [process["pid"] for process in figures["processes"]] == [1, 2]


def test_a_metric_that_falls_silent_keeps_its_last_figures():
    figures = summed(
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 10})),
        report(1, number(semconv.PROCESS_RSS, 100)),
    )
    assert only(figures["spans"])["live_bytes"] == 10


def test_the_peak_is_the_largest_reading_of_any_process():
    figures = summed(
        report(
            1,
            by_pair(semconv.SPAN_PEAK, {LIST: 10}),
            by_pair(semconv.SPAN_COUNT, {LIST: 1}),
        ),
        report(
            2,
            by_pair(semconv.SPAN_PEAK, {LIST: 90}),
            by_pair(semconv.SPAN_COUNT, {LIST: 1}),
        ),
        report(2, by_pair(semconv.SPAN_PEAK, {LIST: 20})),
    )
    assert only(figures["spans"])["peak_bytes_max"] == 90


def test_growth_is_live_now_minus_live_at_first_summed_over_processes():
    figures = summed(
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 10})),
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 25, NO_SPAN: 7})),
        report(2, by_pair(semconv.SPAN_LIVE, {LIST: 100})),
        report(2, by_pair(semconv.SPAN_LIVE, {LIST: 96})),
    )
    assert only(figures["spans"], sort="span")["growth_bytes"] == 15 - 4
    # Nothing was there at the first reading.
    assert only(figures["spans"], sort="no-span")["growth_bytes"] == 7


def test_one_reading_says_nothing_about_growth():
    figures = summed(report(1, by_pair(semconv.SPAN_LIVE, {LIST: 10})))
    assert only(figures["spans"], sort="span")["growth_bytes"] is None


def test_an_entrys_completions_are_its_own():
    """However often its steps complete meanwhile."""
    counts = {LIST: 200, ENTRY: 20}
    stack = aged(LIST, 50, completed_mean=100.0)
    figures = summed(
        report(1, by_pair(semconv.SPAN_COUNT, counts)), profile(1, {"stacks": [stack]})
    )
    assert only(figures["spans"], name="get_product_list")["completed_mean"] == 100
    assert only(figures["entries"], name="GET /recommend")["completed_mean"] == 10


def test_numbers_that_are_no_sizes_are_left_out():
    huge = {LIST: 10**3000, ENTRY: 5}
    figures = summed(report(1, by_pair(semconv.SPAN_LIVE, huge)))
    assert [row["live_bytes"] for row in figures["spans"]] == [5]


def test_spans_are_summed_over_entries_and_entries_over_their_spans():
    live = {LIST: 50, LIST_ELSEWHERE: 30, ENTRY: 5, LATER: 2, NO_SPAN: 60, GC: 0}
    counts = {LIST: 9, LIST_ELSEWHERE: 1, ENTRY: 3, LATER: 0, NO_SPAN: 0, GC: 0}
    figures = summed(
        report(1, by_pair(semconv.SPAN_LIVE, live), by_pair(semconv.SPAN_COUNT, counts))
    )
    assert [
        (row["name"], row["sort"], row["live_bytes"]) for row in figures["spans"]
    ] == [
        ("get_product_list", "span", 80),
        ("(no span)", "no-span", 60),
        ("GET /recommend", "span", 5),
        ("GET /recommend (after end)", "after-end", 2),
    ]
    assert [
        (row["name"], row["sort"], row["kind"], row["count"], row["live_bytes"])
        for row in figures["entries"]
    ] == [
        ("(no span)", "no-span", "", 0, 60),
        ("GET /recommend", "span", "SERVER", 3, 57),
        ("GET /", "span", "", 0, 30),
    ]


def test_rows_that_are_no_spans_are_there_without_a_count():
    counts, allocated = {ENTRY: 3}, {ENTRY: 50, LATER: 8, NO_SPAN: 60, GC: 7}
    figures = summed(
        report(
            1,
            by_pair(semconv.SPAN_COUNT, counts),
            by_pair(semconv.SPAN_ALLOCATED, allocated),
        )
    )
    shown = {row["name"]: row["count"] for row in figures["spans"]}
    assert shown == {ENTRY[0]: 3, LATER[0]: None, NO_SPAN[0]: None}
    shown = {row["name"]: row["count"] for row in figures["entries"]}
    assert shown == {ENTRY[0]: 3, NO_SPAN[0]: None}


def test_a_user_span_named_like_a_special_row_stays_apart():
    imitator = ("(no span)", "INTERNAL", "(no span)", "span")
    figures = summed(report(1, by_pair(semconv.SPAN_LIVE, {imitator: 5, NO_SPAN: 7})))
    assert len(figures["spans"]) == 2
    assert len(figures["entries"]) == 2


def holder(span, entry, live_bytes):
    """What stands for a suspect while nobody can tell who grows."""
    return {
        "span": span,
        "entry": entry,
        "growth_bytes_per_hour": None,
        "live_bytes": live_bytes,
    }


def test_suspects_are_user_spans_by_live_bytes():
    live = {NO_SPAN: 900, ENTRY: 5, LIST: 50, LIST_ELSEWHERE: 0}
    verdict = summed(report(1, by_pair(semconv.SPAN_LIVE, live)))["verdict"]
    assert verdict["state"] == "not-enough-data"
    assert verdict["suspects"] == [
        holder("get_product_list", "GET /recommend", 50),
        holder("GET /recommend", "GET /recommend", 5),
    ]


def stack(live_bytes, samples, *frames):
    return {
        "span": "get_product_list",
        "entry": "GET /recommend",
        "frames": list(frames),
        "live_bytes": live_bytes,
        "samples": samples,
    }


UNKNOWN_AGES = {
    "age_seconds": None,
    "age_mean_seconds": None,
    "completed_mean": None,
    "live_bytes_by_age": [],
    "trace_id": None,
}
FRAMES = [
    ["/usr/lib/python3.11/json/decoder.py", 337, "decode"],
    ["/srv/shop/cache.py", 41, "get_product_list"],
    ["/srv/shop/views.py", 7, "recommend"],
]


def test_sites_are_stacks_of_one_line_summed_over_processes():
    first = {"frames": FRAMES, "stacks": [stack(10, 1, 0, 1, 2)]}
    last = {"frames": FRAMES, "stacks": [stack(50, 5, 0, 1, 2), stack(7, 1, 1, 2)]}
    other = {"frames": FRAMES, "stacks": [stack(100, 9, 1), stack(3, 1)]}
    sites = summed(profile(1, first), profile(1, last), profile(2, other))["sites"]
    assert sites == [
        {
            "span": "get_product_list",
            "entry": "GET /recommend",
            "file": "shop/cache.py",
            "line": 41,
            "function": "get_product_list",
            "live_bytes": 157,
            "samples": 15,
            "growth_bytes": 47,
            **UNKNOWN_AGES,
        },
        {
            "span": "get_product_list",
            "entry": "GET /recommend",
            "file": "(native)",
            "line": None,
            "function": None,
            "live_bytes": 3,
            "samples": 1,
            "growth_bytes": None,
            **UNKNOWN_AGES,
        },
    ]


def test_live_samples_come_from_the_last_profile():
    pair = dict(zip(("span", "kind", "entry", "sort"), LIST, strict=True))
    figures = summed(
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 10})),
        profile(1, {"pairs": [{**pair, "live_samples": 9}]}),
        profile(1, {"pairs": [{**pair, "live_samples": 4}]}),
    )
    assert only(figures["spans"])["live_samples"] == 4


def pair(key, **figures):
    return {**dict(zip(("span", "kind", "entry", "sort"), key, strict=True)), **figures}


def aged(key, live_bytes, **ages):
    return {
        **pair(key),
        "frames": [0, 1, 2],
        "live_bytes": live_bytes,
        "samples": 1,
    } | ages


TRACE = "0af7651916cd43dd8448eb211c80319c"
OLD = {
    "age_seconds": 4000,
    "age_mean_seconds": 900.0,
    "completed_mean": 70.0,
    "live_bytes_by_age": [0, 0, 100, 150, 50],
}
YOUNG = {
    "age_seconds": 9,
    "age_mean_seconds": 4.0,
    "completed_mean": 6.0,
    "live_bytes_by_age": [100, 0, 0, 0, 0],
    "trace_id": TRACE,
    "span_id": "b7ad6b7169203331",
}
BOTH = {
    "age_mean_seconds": (900.0 * 300 + 4 * 100) / 400,
    "completed_mean": (70.0 * 300 + 6 * 100) / 400,
    "live_bytes_by_age": [100, 0, 100, 150, 50],
}


def test_ages_are_in_rows_and_sites_weighted_by_bytes_over_pairs_and_processes():
    live = by_pair(semconv.SPAN_LIVE, {LIST: 300, LIST_ELSEWHERE: 100, ENTRY: 1})
    figures = summed(
        report(1, live),
        report(2, live),
        profile(1, {"frames": FRAMES, "stacks": [aged(LIST, 300, **OLD)]}),
        profile(
            2,
            {
                "frames": FRAMES,
                "stacks": [aged(LIST, 100, **YOUNG), aged(LIST, 1000)],
            },
        ),
    )
    row = only(figures["spans"], name="get_product_list")
    assert {key: row[key] for key in BOTH} == BOTH
    row = only(figures["entries"], name="GET /recommend")
    assert {key: row[key] for key in BOTH} == BOTH
    row = only(figures["entries"], name="GET /")
    assert row["age_mean_seconds"] is None
    assert row["live_bytes_by_age"] == []
    site = only(figures["sites"])
    assert {key: site[key] for key in BOTH} == BOTH
    assert site["age_seconds"] == 4000
    assert site["live_bytes"] == 400 + 1000
    assert site["trace_id"] == TRACE


def test_packages_are_summed_over_processes_with_what_their_imports_hold():
    numpy = "/srv/.venv/lib/python3.12/site-packages/numpy/core.py"
    frames = [[numpy, 9, "ones"], ["/srv/shop/cache.py", 41, "get_product_list"]]
    importing = ("(import)", "", "(import)", "import")

    def listed(key, live_bytes, *indices):
        return aged(key, live_bytes) | {"frames": list(indices)}

    first = [listed(LIST, 30, 0, 1)]
    last = [listed(LIST, 50, 0, 1), listed(importing, 7, 0), listed(LIST, 2)]
    other = [listed(LIST, 100, 1), listed(LIST, 10, 0, 1)]
    figures = summed(
        *(
            profile(pid, {"frames": frames, "stacks": stacks})
            for pid, stacks in ((1, first), (1, last), (2, other))
        )
    )
    assert [tuple(package.values()) for package in figures["packages"]] == [
        ("(own code)", 100, 1, None, 0),
        ("numpy", 67, 3, 27, 7),
        ("(native)", 2, 1, 2, 0),
    ]
    assert list(figures["packages"][0]) == [
        "package",
        "live_bytes",
        "samples",
        "growth_bytes",
        "import_bytes",
    ]


PAIR_FIGURES = {
    "count": 4,
    "allocated_bytes": 900,
    "live_bytes": 90,
    "live_samples": 3,
}


def test_a_process_without_metrics_of_pairs_has_the_rows_of_its_profile():
    pairs = [pair(LIST, **PAIR_FIGURES), pair(NO_SPAN, live_bytes=5), pair(GC, count=0)]
    figures = summed(
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 10})),
        report(2, number(semconv.PROCESS_RSS, 100)),
        profile(1, {"pairs": pairs}),
        profile(
            2, {"pairs": pairs, "frames": FRAMES, "stacks": [aged(LIST, 80, **OLD)]}
        ),
    )
    assert only(figures["spans"], sort="span") == {
        "sort": "span",
        "name": "get_product_list",
        "kind": "INTERNAL",
        "count": 4,
        "allocated_bytes": 900,
        "peak_bytes_max": None,
        "live_bytes": 10 + 90,
        "live_samples": 3 + 3,
        "growth_bytes": None,
        "age_mean_seconds": 900.0,
        "completed_mean": 70.0,
        "live_bytes_by_age": [0, 0, 100, 150, 50],
    }
    assert only(figures["spans"], sort="no-span")["live_bytes"] == 5
    assert only(figures["spans"], sort="no-span")["count"] is None
    assert len(figures["spans"]) == 2
    assert figures["verdict"]["suspects"] == [
        holder("get_product_list", "GET /recommend", 10 + 90)
    ]


def test_rows_of_profiles_grow_from_the_first_to_the_last():
    figures = summed(
        profile(
            1, {"pairs": [pair(LIST, live_bytes=10), pair(ENTRY, live_bytes=None)]}
        ),
        profile(1, {"pairs": [pair(LIST, live_bytes=25), pair(ENTRY, live_bytes=1)]}),
    )
    assert only(figures["spans"], name="get_product_list")["growth_bytes"] == 15
    assert only(figures["spans"], name="GET /recommend")["growth_bytes"] is None


def test_a_row_and_its_line_grow_from_the_same_moment():
    """Reports begin sooner than profiles do."""

    def taken(live_bytes):
        stacks = [stack(live_bytes, 1, 0, 1, 2)]
        pairs = [pair(LIST, live_bytes=live_bytes)]
        return profile(1, {"frames": FRAMES, "stacks": stacks, "pairs": pairs})

    figures = summed(
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 2})),
        taken(10),
        report(1, by_pair(semconv.SPAN_LIVE, {LIST: 49})),
        taken(50),
    )
    (row,), (site,) = figures["spans"], figures["sites"]
    assert row["growth_bytes"] == site["growth_bytes"] == 40


@pytest.mark.parametrize(
    "body",
    [
        {"stacks": 7},
        {"stacks": [None, {}, {"frames": [99, -1, "x", None]}], "frames": [1, []]},
        {"pairs": [{"live_samples": "many"}]},
        {"frames": {"a": 1}, "pairs": "x"},
    ],
)
def test_a_broken_profile_is_no_error(body):
    assert summed(profile(1, body))["processes"][0]["pid"] == 1


@pytest.mark.parametrize(
    "line",
    [
        {"resourceMetrics": [None, 3, {"scopeMetrics": [{"metrics": [{"sum": 7}]}]}]},
        report(1, {"name": "otel_memory.process.rss", "sum": {"dataPoints": [{}]}}),
        report(
            1,
            {
                "name": "otel_memory.limit",
                "gauge": {"dataPoints": [{"asDouble": "NaN"}]},
            },
        ),
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"eventName": "x"}]}]}]},
        report(
            1,
            {
                "name": "otel_memory.limit",
                "gauge": {"dataPoints": [{"asInt": "1", "timeUnixNano": "9" * 400}]},
            },
        ),
    ],
)
def test_a_broken_line_is_no_error(line):
    assert summed(line)["spans"] == []


def test_a_profile_of_another_schema_is_left_out():
    assert (
        summed(profile(1, {"frames": FRAMES, "stacks": [stack(1, 1, 1)]}, schema=2))[
            "sites"
        ]
        == []
    )


def test_a_recording_is_summed_up_from_its_file(tmp_path):
    path = tmp_path / "run.jsonl"
    writer = RecordingWriter(path, START)
    writer.write(report(1, by_pair(semconv.SPAN_LIVE, {LIST: 10})))
    writer.close(0)
    summary = summarise(path)
    assert summary.command == ("python", "app.py")
    assert summary.duration_seconds > 0
    assert summary.spans[0].live_bytes == 10
    assert json.loads(json.dumps(summary.to_dict())) == summary.to_dict()
