# SPDX-License-Identifier: Apache-2.0
"""A forked child counts from zero, and its spans are its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import traceback

from _tools import MIB, attributes_of, metric_points, run_case, start, telemetry

PARENT_SPANS = 25


def _counts():
    return {
        attributes["span.name"]: value
        for value, attributes in metric_points().get("otel_memory.span.count", [])
        if attributes["otel_memory.sort"] == "span"
    }


def _allocated():
    return {
        (attributes["otel_memory.sort"], attributes["span.name"]): value
        for value, attributes in metric_points()["otel_memory.span.heap.allocated"]
    }


def in_child(function, *arguments):
    """Fork as gunicorn does; give what the function returned, through a pipe."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump(function(*arguments), pipe)
            code = 0
        except BaseException:  # noqa: BLE001 - a child ends here, whatever it is
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(answer)


def _work(tracer, name="request", times=3):
    for _ in range(times):
        with tracer.start_as_current_span(name) as span:
            block = bytes(MIB)
        del block
    return dict(span.attributes)


def _child(tracer):
    counts_before = _counts()
    # Not of (no span), which these collections themselves are charged to.
    allocated = {k: v for k, v in _allocated().items() if k[0] != "no-span"}
    allocated_before = max(allocated.values(), default=0)
    attributes = _work(tracer)
    names = [t.name for t in threading.enumerate()]
    return counts_before, allocated_before, attributes, _counts(), names


def case_a_span_that_is_open_at_a_fork_tells_each_process_its_own_sites():
    tracer = start(top_sites_threshold_bytes=MIB)
    kept = []

    def work_of_child():
        for _ in range(10):
            kept.append(bytes(MIB))
        span.end()
        return list(span.attributes["otel_memory.heap.top_sites"])

    def work_of_parent():
        for _ in range(50):
            kept.append(bytes(MIB))

    with tracer.start_as_current_span("request") as span:
        work_of_parent()
        site, *_ = in_child(work_of_child)
    assert "work_of_child" in site, site
    site, *_ = attributes_of("request")["otel_memory.heap.top_sites"]
    assert "work_of_parent" in site, site


def case_a_forked_child_counts_from_zero():
    tracer = start()
    _work(tracer, times=PARENT_SPANS)
    for _ in range(2):
        before, allocated, attributes, after, threads = in_child(_child, tracer)
        assert not any(before.values()), before
        assert allocated < MIB, allocated
        assert after == {"request": 3}, after
        assert MIB <= attributes["otel_memory.heap.allocated"] < 1.1 * MIB
        assert 0 <= attributes["otel_memory.heap.delta"] < 1.1 * MIB
        assert "otel_memory-watcher" in threads or "otel-memory-watcher" in threads
    assert _counts() == {"request": PARENT_SPANS}
    attributes = _work(tracer)
    assert attributes["otel_memory.heap.allocated"] < 1.1 * MIB
    assert _counts() == {"request": PARENT_SPANS + 3}


def _grandchild(tracer):
    _work(tracer, times=2)
    return [_counts(), in_child(_child, tracer)[3]]


def case_a_grandchild_counts_from_zero_too():
    tracer = start()
    _work(tracer)
    assert in_child(_grandchild, tracer) == [{"request": 2}, {"request": 3}]


def _ends_it(tracer, span):
    block = bytes(MIB)
    span.end()
    del block
    return dict(span.attributes)


def case_a_span_that_is_open_meanwhile_ends_in_both():
    tracer = start()
    with tracer.start_as_current_span("open") as span:
        block = bytes(3 * MIB)
        theirs = in_child(_ends_it, tracer, span)
        del block
    mine = attributes_of("open")
    # What came before the fork is the parent's to tell.
    assert 1 * MIB <= theirs["otel_memory.heap.allocated"] < 1.5 * MIB, theirs
    assert 3 * MIB <= mine["otel_memory.heap.allocated"] < 3.5 * MIB, mine
    assert _counts() == {"open": 1}


def _shown():
    """Completed spans by name, and those of (other); nothing is below zero."""
    points = metric_points()["otel_memory.span.count"]
    assert all(value >= 0 for value, _ in points), points
    names = {a["span.name"]: v for v, a in points if a["otel_memory.sort"] == "span"}
    others = [v for v, a in points if a["otel_memory.sort"] == "other"]
    return {name: count for name, count in names.items() if count}, sum(others)


def _small(tracer, name, times=1):
    for _ in range(times):
        with tracer.start_as_current_span(name):
            pass


def _names_that_explode(tracer):
    before = _shown()
    for i in range(300):
        _small(tracer, f"child {i}")
    _shown()
    for i in range(5):
        _small(tracer, f"child {i}", 100)
    return before, _shown()


def case_a_child_admits_names_of_its_own():
    tracer = start(max_span_names=5)
    for i in range(300):
        _small(tracer, f"parent {i}")
    assert _shown() == ({}, 300)
    for i in range(5):
        _small(tracer, f"parent {i}", 100)
    parents = {f"parent {i}": 100 for i in range(5)}
    assert _shown() == (parents, 300)
    before, after = in_child(_names_that_explode, tracer)
    assert before == [{}, 0]
    assert after == [{f"child {i}": 100 for i in range(5)}, 300]
    assert _shown() == (parents, 300)


def _rss(size):
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])
    points = metric_points()
    return points["otel_memory.process.rss"][0][0], points["otel_memory.heap.usage"][0][
        0
    ]


def case_a_childs_process_figures_are_its_own():
    start()
    before = metric_points()["otel_memory.process.rss"][0][0]
    rss, usage = in_child(_rss, 200 * MIB)
    assert rss > 200 * MIB, rss
    assert usage > 200 * MIB, usage
    after = metric_points()["otel_memory.process.rss"][0][0]
    assert after - before < 50 * MIB


def _in_pool(times):
    from opentelemetry import trace

    _work(trace.get_tracer("isolated"), "pool", times)
    return os.getpid(), _counts()


def case_multiprocessing_workers_count_their_own():
    tracer = start()
    _work(tracer, "pool", times=PARENT_SPANS)
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        answers = pool.map(_in_pool, [1] * 20, chunksize=1)
    last = {pid: counts["pool"] for pid, counts in answers}
    for pid in last:
        seen = [counts["pool"] for each, counts in answers if each == pid]
        assert sorted(seen) == list(range(1, len(seen) + 1)), seen
    assert sum(last.values()) == 20
    assert _counts() == {"pool": PARENT_SPANS}


def case_a_thread_that_starts_spans_meanwhile_is_no_trouble():
    # Without an exporter: its lock is held in the child when the other held it.
    tracer = start(processor=None)
    ended = threading.Event()

    def busy():
        while not ended.is_set():
            _small(tracer, "busy")

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            after = in_child(_child, tracer)[3]
            # What the parent's threads had open goes on in no child.
            assert after["request"] == 3
            assert after.get("busy", 0) == 0, after
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _reads_rows():
    from otel_memory import metrics

    # Not through the SDK, which may have left locks of its own.
    return len(metrics.current().refresh_pairs())


def case_a_reader_that_collects_meanwhile_leaves_no_lock_behind():
    tracer = start(processor=None)
    for i in range(3000):
        _small(tracer, f"name {i % 900}")
    ended = threading.Event()

    def collect():
        while not ended.is_set():
            metric_points()

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for _ in range(30):
            assert in_child(_reads_rows) > 0
    finally:
        ended.set()
        thread.join()


def case_uninstrument_in_a_child_is_the_childs():
    tracer = start()

    def child():
        from otel_memory import MemoryInstrumentor

        MemoryInstrumentor().uninstrument()
        _small(tracer, "off")
        MemoryInstrumentor().instrument()
        _small(tracer, "on")
        return _counts()

    assert in_child(child).get("on") == 1
    telemetry.exporter.clear()
    _small(tracer, "parent")
    assert "otel_memory.heap.delta" in attributes_of("parent")


if __name__ == "__main__":
    run_case()
