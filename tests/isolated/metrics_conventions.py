# SPDX-License-Identifier: Apache-2.0
"""Names of the semantic conventions arrive once, whoever else emits them.

Needs no counting core: all of it runs with heap=off.
"""

from __future__ import annotations

import os

from _fork import fork_and_wait
from _metrics import CONVENTIONS, TABLE, collected, scopes
from _tools import MIB, Logged, metric_points, rss_bytes, run_case, start, telemetry
from opentelemetry import metrics
from opentelemetry.instrumentation.system_metrics import (
    _DEFAULT_CONFIG,
    SystemMetricsInstrumentor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_memory import MemoryInstrumentor, semconv
from otel_memory.metrics._conventions import (
    READERS,
    is_emitted_by_others,
    names_of_others,
)

THEIRS = "opentelemetry.instrumentation.system_metrics"
OFTEN_SHARED = {
    "process.memory.usage",
    "process.memory.virtual",
    "cpython.gc.collections",
    "cpython.gc.collected_objects",
    "cpython.gc.uncollectable_objects",
}


def real_providers():
    """Set up before anybody instruments; `start` would instrument at once."""
    telemetry.reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([telemetry.reader]))


def assert_all_once(shared, reader=None):
    """All rows are there, once; those that are shared come from system-metrics."""
    collected(reader)  # no name twice
    found = scopes(reader)
    ours = found[semconv.SCOPE_NAME] & set(CONVENTIONS)
    theirs = found.get(THEIRS, set()) & set(CONVENTIONS)
    assert theirs == shared, theirs
    assert ours == set(CONVENTIONS) - shared, ours


def case_alone_all_are_ours():
    start(heap="off")
    assert set(collected()) <= {*TABLE, *CONVENTIONS}
    assert_all_once(set())


def case_system_metrics_before_us():
    real_providers()
    SystemMetricsInstrumentor().instrument()
    MemoryInstrumentor().instrument(heap="off")
    assert_all_once(OFTEN_SHARED)


def case_system_metrics_after_us():
    real_providers()
    MemoryInstrumentor().instrument(heap="off")
    assert_all_once(set())
    SystemMetricsInstrumentor().instrument()
    assert_all_once(OFTEN_SHARED)
    assert_all_once(OFTEN_SHARED)


def case_system_metrics_with_a_configuration_of_its_own():
    real_providers()
    MemoryInstrumentor().instrument(heap="off")
    config = {"process.memory.usage": None, "system.cpu.time": ["idle"]}
    SystemMetricsInstrumentor(config=config).instrument()
    assert_all_once({"process.memory.usage"})
    # Its constructor runs again at each call, and forgets what is registered.
    SystemMetricsInstrumentor()
    assert_all_once({"process.memory.usage"})


def case_system_metrics_with_metrics_excluded():
    os.environ["OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS"] = (
        "cpython.*, process.memory.virtual"
    )
    real_providers()
    SystemMetricsInstrumentor().instrument()
    MemoryInstrumentor().instrument(heap="off")
    assert_all_once({"process.memory.usage"})


def case_system_metrics_goes_on_after_it_was_uninstrumented():
    real_providers()
    MemoryInstrumentor().instrument(heap="off")
    SystemMetricsInstrumentor().instrument()
    SystemMetricsInstrumentor().uninstrument()
    assert_all_once(OFTEN_SHARED)


def case_system_metrics_that_only_was_imported():
    start(heap="off")
    SystemMetricsInstrumentor()
    assert_all_once(set())


def case_system_metrics_with_another_provider_is_no_matter_of_ours():
    start(heap="off")
    reader = InMemoryMetricReader()
    SystemMetricsInstrumentor().instrument(meter_provider=MeterProvider([reader]))
    assert_all_once(set())
    assert scopes(reader)[THEIRS] >= OFTEN_SHARED


def case_each_provider_is_asked_about_its_own():
    real_providers()
    MemoryInstrumentor().instrument(heap="off")
    SystemMetricsInstrumentor().instrument()
    MemoryInstrumentor().uninstrument()
    reader = InMemoryMetricReader()
    other = MeterProvider([reader])
    MemoryInstrumentor().instrument(heap="off", meter_provider=other)
    assert_all_once(set(), reader)
    assert set(scopes()) == {THEIRS}  # ours have moved


def case_somebody_elses_metric_of_that_name():
    start(heap="off")
    metrics.get_meter("shop").create_observable_gauge(
        "Process.Uptime", callbacks=[lambda options: [metrics.Observation(1)]]
    )
    collected()
    found = scopes()
    assert {name.lower() for name in found["shop"]} == {"process.uptime"}
    assert "process.uptime" not in found[semconv.SCOPE_NAME]


class Hidden(metrics.MeterProvider):
    """A provider that does not show what it has."""

    def __init__(self, provider):
        self._provider = provider

    def get_meter(self, *args, **kwargs):
        return self._provider.get_meter(*args, **kwargs)


def case_a_provider_that_cannot_be_asked():
    """Then system-metrics is taken at its word."""
    reader = InMemoryMetricReader()
    hidden = Hidden(MeterProvider([reader]))
    start(heap="off", meter_provider=hidden)
    assert names_of_others(hidden) == set()
    assert_all_once(set(), reader)
    config = {"process.memory.usage": None}
    SystemMetricsInstrumentor(config=config).instrument(meter_provider=hidden)
    assert_all_once({"process.memory.usage"}, reader)
    SystemMetricsInstrumentor(config=config).uninstrument()
    SystemMetricsInstrumentor(config=config)._instrument(meter_provider=hidden)
    assert_all_once({"process.memory.usage"}, reader)


class Counted(dict):
    """The meters of a provider, and how often they are looked through."""

    times = 0

    def items(self):
        self.times += 1
        return super().items()


def counted_provider():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    provider._meters = Counted(provider._meters)
    return provider, reader


def ask_all(provider):
    """As one collection does: the rows of which others emit one."""
    return {m.name for m, _ in READERS if is_emitted_by_others(m, provider)}


def case_others_are_asked_once_for_all_rows():
    (one, _), (other, _) = counted_provider(), counted_provider()
    for times in (1, 2, 3):
        assert ask_all(one) == ask_all(other) == set()
        assert (one._meters.times, other._meters.times) == (times, times)
    SystemMetricsInstrumentor().instrument(meter_provider=one)
    assert ask_all(one) == OFTEN_SHARED
    assert ask_all(other) == set()
    # Two readers that collect at once, row by row.
    for metric, _ in READERS:
        for _ in range(2):
            assert is_emitted_by_others(metric, one) is (metric.name in OFTEN_SHARED)


def case_others_are_asked_once_in_a_collection():
    provider, reader = counted_provider()
    start(heap="off", meter_provider=provider)
    for times in (1, 2, 3):
        assert_all_once(set(), reader)  # collects twice
        assert provider._meters.times == 2 * times


class Unhashable(Hidden):
    """A provider of which nothing can be remembered."""

    __hash__ = None


def case_a_provider_that_cannot_be_remembered():
    reader = InMemoryMetricReader()
    provider = Unhashable(MeterProvider([reader]))
    SystemMetricsInstrumentor().instrument(meter_provider=provider)
    start(heap="off", meter_provider=provider)
    assert_all_once(OFTEN_SHARED, reader)
    assert ask_all(provider) == OFTEN_SHARED


def case_what_system_metrics_emits_by_default_is_what_we_know():
    assert set(_DEFAULT_CONFIG) & set(CONVENTIONS) == OFTEN_SHARED


def case_after_uninstrument_nothing_of_ours_is_left():
    logged = Logged()
    start(heap="off")
    for _ in range(3):
        assert_all_once(set())
        MemoryInstrumentor().uninstrument()
        assert collected() == {}
        MemoryInstrumentor().instrument(heap="off")
    assert logged.lines == []


def their_rss():
    (point,) = [value for value, _ in metric_points()["process.memory.usage"]]
    return point


def _grow_and_read():
    block = bytearray(200 * MIB)
    block[::4096] = b"x" * len(block[::4096])
    mine = rss_bytes()
    theirs = their_rss()
    assert mine > 200 * MIB
    assert abs(theirs - mine) < 20 * MIB, (theirs, mine)


def case_system_metrics_shows_a_child_its_own_memory():
    real_providers()
    SystemMetricsInstrumentor().instrument()
    MemoryInstrumentor().instrument(heap="off")
    assert their_rss() < 150 * MIB
    fork_and_wait(_grow_and_read)
    fork_and_wait(lambda: fork_and_wait(_grow_and_read))
    assert their_rss() < 150 * MIB


def case_a_fork_without_system_metrics_loads_nothing():
    import sys

    start(heap="off")
    SystemMetricsInstrumentor._instance = None
    del sys.modules[THEIRS]

    def child():
        assert THEIRS not in sys.modules
        metric_points()

    fork_and_wait(child)


def case_a_child_says_what_it_has_itself():
    start(heap="off")
    before = metric_points()["process.memory.usage"][0][0]

    def child():
        block = bytearray(200 * MIB)
        block[::4096] = b"x" * len(block[::4096])
        assert metric_points()["process.memory.usage"][0][0] > before + 150 * MIB

    fork_and_wait(child)


if __name__ == "__main__":
    run_case()
