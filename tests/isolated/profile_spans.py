# SPDX-License-Identifier: Apache-2.0
"""What profile and spans of the SDK know of each other: trace ids, and top sites."""

from __future__ import annotations

import re
from itertools import repeat
from pathlib import Path

from _tools import MIB, attributes_of, run_case, say, start, telemetry
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from otel_memory.heap import SampledStack, _core

SITES = "otel_memory.heap.top_sites"
THRESHOLD_BYTES = 8 * MIB
SITES_MAX = 5
TEXT = re.compile(
    r"(?P<file>[^:]+):(?P<line>\d+) (?P<function>\S+) (?P<size>[\d.]+) (?P<unit>\w+)"
)
UNITS_BYTES = {"B": 1, "KiB": 1024, "MiB": MIB}
RATE_BYTES = 4096
"""So small that each of the blocks below is sampled and weighs what it is."""
BLOCK_BYTES = 256 * 1024
kept = []


def begin(**config):
    tracer = start(top_sites_threshold_bytes=THRESHOLD_BYTES, **config)
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    return tracer


def take(mebibytes):
    return list(map(bytes, repeat(BLOCK_BYTES, mebibytes * MIB // BLOCK_BYTES)))


def take_in_child(mebibytes):
    return list(map(bytearray, repeat(BLOCK_BYTES, mebibytes * MIB // BLOCK_BYTES)))


def sites_of(name):
    """[(function, MiB)] of the last ended span of that name; None without.

    What took less than a quarter of a MiB is the making of spans.
    """
    sites = attributes_of(name).get(SITES)
    say(name, sites)
    if sites is None:
        return None
    assert 0 < len(sites) <= SITES_MAX
    found = [TEXT.fullmatch(site) for site in sites]
    assert all(found), sites
    assert all(site["file"].endswith(Path(__file__).name) for site in found), sites
    sizes = [float(site["size"]) * UNITS_BYTES[site["unit"]] / MIB for site in found]
    assert sizes == sorted(sizes, reverse=True)
    both = zip([site["function"] for site in found], sizes, strict=True)
    return [(name, size) for name, size in both if size >= 0.25]


# ------------------------------------------------------------------ trace ids


def case_trace_ids():
    """A row links to the recorded span that bore the newest of its live blocks."""
    tracer = begin()
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("unsampled")
    for number in range(3):
        with tracer.start_as_current_span("recorded") as span:
            kept.append(take(2))
            context = span.get_span_context()
        wait_for_a_tick()
        assert ids_of("recorded") == (context.trace_id, context.span_id), number
    with unsampled.start_as_current_span("recorded") as span:
        assert not span.is_recording()
        kept.append(take(2))
    # The newest is of a span that no backend has: the newest of the others it is.
    assert ids_of("recorded") == (context.trace_id, context.span_id)
    with unsampled.start_as_current_span("never recorded"):
        kept.append(take(2))
    assert ids_of("never recorded") == (0, 0)
    # An older one's turn comes when the newest is freed.
    del kept[2]
    assert ids_of("recorded") != (context.trace_id, context.span_id)
    assert ids_of("recorded") != (0, 0)


def wait_for_a_tick():
    """Births of one moment, a sixteenth of a second, are one to the profile."""
    before = oldest_age_seconds()
    while oldest_age_seconds() < before + 1 / 16:
        pass


def oldest_age_seconds():
    return max(row.age_mean_seconds for row in rows_of("recorded"))


def rows_of(name):
    rows = [SampledStack(*row) for row in _core.stacks(1_000) if row[1] == name]
    assert rows, name
    return rows


def ids_of(name):
    row = max(rows_of(name), key=lambda row: row.live_bytes)
    return row.trace_id, row.span_id


# ------------------------------------------------------------------ top sites


def case_past_the_threshold():
    """A span that took more says where, its child's sites among them; others do not."""
    tracer = begin()
    with tracer.start_as_current_span("small"):
        take(7)
    assert sites_of("small") is None
    with tracer.start_as_current_span("large"):
        take(20)  # freed at once: it is what was taken that counts
    ((function, mebibytes),) = sites_of("large")
    assert function == "take"
    assert abs(mebibytes - 20) <= 0.5
    with tracer.start_as_current_span("parent"):
        take(6)
        with tracer.start_as_current_span("child"):
            take_in_child(12)
    assert [name for name, _ in sites_of("child")] == ["take_in_child"]
    (first, second) = sites_of("parent")
    assert (first[0], second[0]) == ("take_in_child", "take")
    assert abs(first[1] - 12) <= 0.5
    assert abs(second[1] - 6) <= 0.5
    # A child that took little says nothing, and yet its parent has it.
    with tracer.start_as_current_span("parent"):
        take(6)
        with tracer.start_as_current_span("child"):
            take_in_child(5)
    assert sites_of("child") is None
    assert [name for name, _ in sites_of("parent")] == ["take", "take_in_child"]


def case_not_recorded():
    """A span that no backend will have keeps no sites, and takes no memory for them."""
    begin()
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("unsampled")
    take(40)  # the samples' own memory is kept for the next ones
    before = _core.health()["memory_bytes"]
    with unsampled.start_as_current_span("unsampled"):
        take(40)
    assert telemetry.exporter.get_finished_spans() == ()
    assert _core.health()["memory_bytes"] - before < 16 * 1024


def case_switched_off():
    tracer = start(top_sites_threshold_bytes=0)
    _core.set_sampling(True, rate_bytes=RATE_BYTES)
    with tracer.start_as_current_span("large"):
        take(40)
    assert sites_of("large") is None


def many_lines(count, mebibytes_each):
    """Functions of their own, each of which takes so much."""
    scope = {"take_one": take_one}
    for number in range(count):
        exec(
            compile(
                f"def line_{number}():\n    take_one({mebibytes_each})\n",
                __file__,
                "exec",
            ),
            scope,
        )
    return [scope[f"line_{number}"] for number in range(count)]


def take_one(mebibytes):
    bytes(int(mebibytes * MIB))


def case_largest_comes_last():
    """What took most is listed, however many stacks took a little before.

    There is room for some of them only: what is said may be off by a share of all.
    """
    tracer = begin()
    for others in (10, 31, 32, 60, 90):
        functions = many_lines(others, 1)
        with tracer.start_as_current_span("one after the other"):
            for function in functions:
                function()
            for _ in range(400):
                bytearray(BLOCK_BYTES)
        (first, *_) = sites_of("one after the other")
        assert first[0] == "case_largest_comes_last", (others, first)
        assert abs(first[1] - 100) <= 1 + (100 + others) / 32, (others, first)


def case_users_attributes_stay():
    """At the limit of attributes the sites stay out: they evict nobody's."""
    for limit in range(1, 14):
        check_limit(limit)


def check_limit(limit):
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=limit))
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    if not kept:
        kept.append(begin())
    with provider.get_tracer("limited").start_as_current_span("limited") as span:
        take(20)
        users = {f"user.{number}": number for number in range(limit)[:5]}
        span.set_attributes(users)
    (ended,) = exporter.get_finished_spans()
    assert users.items() <= ended.attributes.items(), (limit, ended.attributes)
    assert len(ended.attributes) <= limit
    # Five of the user's, six figures, and then the sites.
    assert (SITES in ended.attributes) == (limit >= len(users) + 7), limit
    assert trace.get_current_span().get_span_context().span_id == 0


if __name__ == "__main__":
    run_case()
