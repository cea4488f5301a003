# SPDX-License-Identifier: Apache-2.0
"""Memory stands under the right names, sampled or not, and under the right entry."""

from __future__ import annotations

import os
import threading

from _tools import (
    EXCLUSIVE,
    MIB,
    assert_close,
    attributes_of,
    metric_points,
    rows,
    run_case,
    start,
    start_with,
    telemetry,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider, _TracerConfig
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from otel_memory import MemoryInstrumentor
from otel_memory.heap import _core


def row(name, entry=None):
    found = [r for r in rows() if r.name == name and entry in (None, r.entry)]
    assert len(found) == 1, (name, rows())
    return found[0]


def case_head_sampling_hides_no_leak():
    os.environ["OTEL_TRACES_SAMPLER"] = "traceidratio"
    os.environ["OTEL_TRACES_SAMPLER_ARG"] = "0.05"
    tracer = start_with(TracerProvider())
    # So often that each block is a sample, and the estimate is of all of them.
    _core.set_sampling(True, rate_bytes=4096, seed=1)
    kept = []
    for _ in range(400):
        with tracer.start_as_current_span("GET", kind=SpanKind.SERVER) as entry:
            with tracer.start_as_current_span("leaks"):
                kept.append(bytearray(100_000))
            with tracer.start_as_current_span("frees"):
                bytearray(100_000)
            entry.update_name("GET /basket")
    exported = [s for s in telemetry.exporter.get_finished_spans() if s.name == "leaks"]
    assert 0 < len(exported) < 100, len(exported)
    leaks, frees = row("leaks"), row("frees")
    assert leaks.count == frees.count == row("GET /basket").count == 400
    assert (leaks.entry, frees.entry) == ("GET /basket", "GET /basket")
    assert_close(leaks.live, 40e6)
    assert frees.live < 1e6, frees
    assert not [r for r in rows() if r.name == "GET"]
    shown = {a["span.name"]: v for v, a in metric_points()["otel_memory.span.count"]}
    assert shown["leaks"] == 400
    kept.clear()
    assert row("leaks").live < 1e6


def case_a_late_name_holds_for_what_was_born_before():
    tracer = start()
    kept = []
    span = tracer.start_span("GET", kind=SpanKind.SERVER)
    with trace.use_span(span, end_on_exit=False):
        kept.append(bytearray(8 * MIB))
        with tracer.start_as_current_span("inner"):
            kept.append(bytearray(8 * MIB))
        span.update_name("GET /products/{id}")
    span.end()
    assert row("GET /products/{id}").live > 7 * MIB
    assert row("GET /products/{id}").kind == SpanKind.SERVER.value
    assert row("inner").entry == "GET /products/{id}"
    assert row("inner").count == 1
    assert not [r for r in rows() if "GET" in (r.name, r.entry)], rows()
    span.update_name("too late")
    assert not [r for r in rows() if r.name == "too late"], rows()


def case_a_name_that_comes_late_finds_its_inner_spans_under_two_entries():
    tracer = start()
    _core.set_sampling(True, rate_bytes=4096, seed=1)
    kept = []
    for route, keeps in (("/a", True), ("/b", False)) * 20:
        span = tracer.start_span("GET", kind=SpanKind.SERVER)
        with (
            trace.use_span(span, end_on_exit=True),
            tracer.start_as_current_span("endpoint"),
        ):
            block = bytearray(MIB)
            if keeps:
                kept.append(block)
            del block
            span.update_name(f"GET {route}")
    assert {r.entry: r.count for r in rows() if r.name == "endpoint"} == {
        "GET /a": 20,
        "GET /b": 20,
    }
    assert_close(row("endpoint", "GET /a").live, 20 * MIB)
    assert row("endpoint", "GET /b").live < MIB


def _covers_nothing(disabled):
    """Spans of a disabled tracer are none: the real one around them is charged."""
    tracer = trace.get_tracer("enabled")
    kept = []
    with (
        tracer.start_as_current_span("real"),
        disabled.start_as_current_span("not there") as span,
    ):
        assert not span.is_recording()
        kept.append(bytearray(8 * MIB))
        with tracer.start_as_current_span("inner"):
            pass
        kept.append(bytearray(8 * MIB))
    assert not [r for r in rows() if r.name == "not there"], rows()
    assert attributes_of("real")["otel_memory.heap.self.allocated"] > 15 * MIB
    assert row("real").live > 15 * MIB
    assert row("real").count == 1
    assert row("inner").entry == "real"
    with disabled.start_as_current_span("not there"):
        pass
    assert not [r for r in rows() if r.name == "not there"], rows()


def case_a_disabled_tracer_makes_no_span():
    def only_enabled(scope):
        return _TracerConfig(is_enabled=scope.name != "disabled")

    start_with(TracerProvider(_tracer_configurator=only_enabled))
    _covers_nothing(trace.get_tracer("disabled"))


def case_a_tracer_of_the_api_alone_makes_no_span():
    start()
    _covers_nothing(trace.NoOpTracer())


def case_a_span_with_a_remote_parent_is_an_entry():
    tracer = start()
    remote = SpanContext(0x1234, 0x5678, is_remote=True, trace_flags=TraceFlags(1))
    context = set_span_in_context(NonRecordingSpan(remote))
    with (
        tracer.start_as_current_span("consume", context, SpanKind.CONSUMER),
        tracer.start_as_current_span("inner"),
    ):
        pass
    assert row("consume").entry == "consume"
    assert row("consume").kind == SpanKind.CONSUMER.value
    assert row("inner").entry == "consume"
    assert attributes_of("inner")[EXCLUSIVE] is True


def case_rss_is_exclusive_without_another_entry():
    tracer = start()
    with (
        tracer.start_as_current_span("alone"),
        tracer.start_as_current_span("child"),
        tracer.start_as_current_span("grandchild"),
    ):
        pass
    for name in ("alone", "child", "grandchild"):
        assert attributes_of(name)[EXCLUSIVE] is True, name


def case_rss_is_shared_where_entries_overlap():
    tracer = start()
    # Before, during and at the end of the other.
    early = tracer.start_span("early")
    late = tracer.start_span("late")
    with trace.use_span(late), tracer.start_as_current_span("child of late"):
        pass
    early.end()
    with (
        trace.use_span(late),
        tracer.start_as_current_span("late child, early is over"),
    ):
        pass
    late.end()
    with tracer.start_as_current_span("after"):
        pass
    exclusive = {
        span.name: span.attributes[EXCLUSIVE]
        for span in telemetry.exporter.get_finished_spans()
    }
    assert exclusive == {
        "early": False,
        "late": False,
        "child of late": False,
        "late child, early is over": True,
        "after": True,
    }, exclusive


def case_an_entry_that_comes_and_goes_meanwhile_shares_rss():
    tracer = start()
    with tracer.start_as_current_span("long"):
        thread = threading.Thread(target=lambda: tracer.start_span("short").end())
        thread.start()
        thread.join()
    assert attributes_of("long")[EXCLUSIVE] is False
    assert attributes_of("short")[EXCLUSIVE] is False


def case_globs_and_kinds_choose_what_carries_attributes():
    tracer = start(
        included_spans="GET *,job", excluded_spans="*health*", span_kinds="SERVER"
    )
    kinds = {"GET /a": SpanKind.SERVER, "GET /health": SpanKind.SERVER}
    kinds |= {"GET /client": SpanKind.CLIENT, "POST /a": SpanKind.SERVER}
    kinds |= {"job": SpanKind.INTERNAL, "GET late": SpanKind.SERVER}
    for name, kind in kinds.items():
        with tracer.start_as_current_span("?", kind=kind) as span:
            span.update_name(name)
    carry = {
        span.name
        for span in telemetry.exporter.get_finished_spans()
        if any(key.startswith("otel_memory.") for key in span.attributes)
    }
    assert carry == {"GET /a", "GET late"}
    # The filter is about attributes: all count.
    assert {r.name: r.count for r in rows()} == dict.fromkeys(kinds, 1)


def case_each_kind_can_be_chosen_alone():
    tracer = start(span_kinds="server")
    for kind in SpanKind:
        MemoryInstrumentor().uninstrument()
        MemoryInstrumentor().instrument(span_kinds=kind.name.lower())
        telemetry.exporter.clear()
        for each in SpanKind:
            tracer.start_span(each.name, kind=each).end()
        carry = [
            span.name
            for span in telemetry.exporter.get_finished_spans()
            if any(key.startswith("otel_memory.") for key in span.attributes)
        ]
        assert carry == [kind.name], (kind, carry)


if __name__ == "__main__":
    run_case()
