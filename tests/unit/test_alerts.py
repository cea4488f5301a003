# SPDX-License-Identifier: Apache-2.0
"""What an alert says, to whom, and that nobody is harmed by it."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)

from otel_memory import _guard, semconv
from otel_memory.alerts import (
    RECENT_MAX,
    Alerts,
    Change,
    Evidence,
    Handlers,
    MemoryAlert,
    _handlers,
    make_alert,
)
from otel_memory.config import MemoryConfig
from otel_memory.findings import Findings
from otel_memory.heap import Entry, Pair, SampledStack
from otel_memory.heap._off import OffSource
from otel_memory.leaks import LEAKING, Assessment, Suspect
from otel_memory.process import Details, Resident
from otel_memory.watcher import Watcher

MIB = 1024 * 1024
LIMIT = 1000 * MIB
HOUR = 3600.0
WAIT_SECONDS = 30  # for another thread; a failing test only
LEAKER, BIG = ("get_product_list", "GET /recommend"), ("render", "GET /")
FRAMES = {
    LEAKER: (("/shop/cache.py", 60, "get_product_list"),),
    BIG: (("/shop/pages.py", 7, "render"),),
}
THRESHOLD = "otel_memory.threshold.exceeded"


class Heap(OffSource):
    """What a source tells of two spans, one of which may leak."""

    def __init__(self) -> None:
        super().__init__()
        self.live_bytes = {LEAKER: 0, BIG: 300 * MIB}
        self.age_seconds = 5_000.0
        self.fails = False
        self.ring: list[Entry] = []
        self.room = 0.0
        self.takes = 0

    def pairs(self) -> list[Pair]:
        return [
            Pair("span", span, "INTERNAL", entry, 9, 0, 0, live, 9)
            for (span, entry), live in self.live_bytes.items()
        ] + [
            # Rows on which nobody can act: they are nobody's.
            Pair("other", "(other)", "", "(other)", 9, 0, 0, self.live_bytes[LEAKER], 9)
        ]

    def stacks(self, limit: int) -> list[SampledStack]:
        if self.fails:
            raise MemoryError("planned")
        stacks = [
            SampledStack(
                *("span", span, "INTERNAL", entry, FRAMES[span, entry], live, 9),
                *(int(self.age_seconds), self.age_seconds, 1.0, (live,), 0, 0),
            )
            for (span, entry), live in self.live_bytes.items()
            if live
        ]
        return sorted(stacks, key=lambda stack: -stack.live_bytes)[:limit]

    def take_entries(self) -> list[Entry]:
        taken, self.ring = self.ring, []
        self.takes += 1
        return taken


@dataclass
class Machine:
    """What the operating system would say."""

    rss_bytes: int = 100 * MIB
    limit: int | None = LIMIT
    usage_bytes: int | None = 100 * MIB

    def resident(self) -> Resident:
        return Resident(self.rss_bytes, self.rss_bytes)

    def limit_bytes(self) -> int | None:
        return self.limit

    def limit_usage_bytes(self) -> int | None:
        return self.usage_bytes

    def uptime_seconds(self) -> float:
        return 5.0

    def details(self) -> Details:
        return Details(1, 2, 3)


@dataclass
class World:
    """A watcher with a clock that the test advances."""

    settings: dict[str, Any]
    seconds: float = 0.0
    completed: int = 0
    machine: Machine = field(default_factory=Machine)
    heap: Heap = field(default_factory=Heap)
    findings: Findings = field(default_factory=Findings)
    exporter: InMemoryLogRecordExporter = field(
        default_factory=InMemoryLogRecordExporter
    )
    recorded: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = MemoryConfig(**self.settings)
        self.provider = LoggerProvider()
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        events = self.provider.get_logger(semconv.SCOPE_NAME)
        self.alerts = Alerts(events, self.findings, Handlers(config.alert_handlers))
        self.watcher = Watcher(
            self.heap,
            config,
            readings=self.machine,  # type: ignore[arg-type]
            findings=self.findings,
            alerts=self.alerts,
            events=events,
            completed=lambda: self.completed,
            record_entries=self.recorded.extend,
            clock=lambda: self.seconds,
        )

    def go(self, seconds: float, step: float = 10.0) -> None:
        """Let time pass and tick."""
        until = self.seconds + seconds
        while self.seconds < until:
            self.seconds += step
            self.completed += 10
            self.watcher.tick()

    def use(self, mib: int, readings: int = 3) -> None:
        self.machine.rss_bytes = self.machine.usage_bytes = mib * MIB
        self.go(readings * 10.0)

    def leak(self, hours: float, mib_per_hour: float) -> None:
        """Leak in one span, as much as the process grows."""
        for _ in range(int(hours * 60)):
            self.machine.rss_bytes += round(mib_per_hour * MIB / 60)
            self.heap.live_bytes[LEAKER] += round(mib_per_hour * MIB / 60)
            self.go(60, step=30)

    def events(self) -> list[Any]:
        return [data.log_record for data in self.exporter.get_finished_logs()]


def test_the_documents_sample_is_what_is_said() -> None:
    page = Path(__file__).parents[2] / "docs/alerts.md"
    samples = re.findall(r"^```text\n(.*?)\n```$", page.read_text(), re.M | re.S)
    rate, used, limit = 35 * MIB, 412.3 * MIB, 512 * MIB
    suspect = Suspect(*LEAKER, 30.1 * MIB, 90 * MIB, None, 86.5 * MIB)
    said = make_alert(
        Change("warning", False, used, 0.8 * limit, limit),
        Assessment(LEAKING, rate, (30 * MIB, 40 * MIB), (limit - used) / rate * HOUR),
        limit,
        Evidence(
            (suspect,),
            ("shop/cache.py:60",),
            ("shop/cache.py:60 get_product_list 86.5 MiB",),
        ),
    ).message
    assert samples == [said]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    made: list[World] = []
    # Alerts are counted for the life of the process, which other tests share.
    monkeypatch.setattr(Findings, "alerts", dict.fromkeys(semconv.ALERT_KINDS, 0))

    def make(**settings: Any) -> World:
        made.append(World(settings))
        return made[-1]

    yield make
    for each in made:
        each.watcher.stop(final=False)
        each.alerts.close()
        each.heap.close()
        each.provider.shutdown()


def test_what_holds_next_to_nothing_is_not_named(
    world: Callable[..., World],
) -> None:
    for leaked_mib, named in ((14, 1), (16, 2)):
        here = world()
        here.heap.live_bytes[LEAKER] = leaked_mib * MIB
        here.use(810, readings=3)
        (event,) = here.events()
        assert len(event.attributes["otel_memory.alert.top_sites"]) == named


def test_a_threshold_is_an_event_a_line_and_a_count(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    here = world()
    here.use(810, readings=50)
    (event,) = here.events()
    assert event.event_name == THRESHOLD
    assert event.severity_number == SeverityNumber.WARN
    assert event.severity_text == "WARN"
    assert event.attributes == {
        "otel_memory.alert.kind": "warning",
        "otel_memory.alert.value": 810 * MIB,
        "otel_memory.alert.threshold": 800 * MIB,
        "otel_memory.alert.limit": LIMIT,
        "otel_memory.alert.leak.state": "not-enough-data",
        "otel_memory.alert.top_sites": ("/shop/pages.py:7 render 300.0 MiB",),
    }
    assert event.body == (
        "memory is 810.0 MiB, 81% of the limit of 1000.0 MiB (warning at 80%). "
        "No span is known to grow; largest live: /shop/pages.py:7 render 300.0 MiB."
    )
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("otel_memory", logging.WARNING)
    assert record.getMessage() == event.body
    assert here.findings.alerts == {"warning": 1, "critical": 0, "growth": 0, "leak": 0}


def test_critical_is_an_error_and_recovery_is_news(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    here = world()
    here.use(950)
    here.use(500, readings=6)
    told = [
        (e.event_name, e.attributes["otel_memory.alert.kind"], e.severity_number)
        for e in here.events()
    ]
    assert told == [
        (THRESHOLD, "warning", SeverityNumber.WARN),
        (THRESHOLD, "critical", SeverityNumber.ERROR),
        ("otel_memory.recovered", "warning", SeverityNumber.INFO),
        ("otel_memory.recovered", "critical", SeverityNumber.INFO),
    ]
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.ERROR, logging.INFO, logging.INFO]
    last = here.events()[-1]
    assert last.body == (
        "memory is 500.0 MiB, 50% of the limit of 1000.0 MiB: well below critical at "
        "90% again."
    )
    assert "otel_memory.alert.top_sites" not in last.attributes
    assert here.findings.alerts["critical"] == 1  # raised, not what recovers


def test_a_share_is_judged_by_the_containers_use_and_a_size_by_the_process(
    world: Callable[..., World],
) -> None:
    here = world(critical="400MiB")
    here.machine.rss_bytes, here.machine.usage_bytes = 300 * MIB, 850 * MIB
    here.go(50)
    here.machine.rss_bytes = 450 * MIB
    here.go(50)
    assert [(a.kind, a.value // MIB) for a in here.alerts.recent()] == [
        ("warning", 850),
        ("critical", 450),
    ]
    assert here.alerts.recent()[-1].message.startswith(
        "memory is 450.0 MiB (critical at 400.0 MiB)."
    )


def test_a_configured_limit_is_judged_by_the_process(
    world: Callable[..., World],
) -> None:
    here = world(limit_bytes="200MiB")
    here.machine.rss_bytes, here.machine.usage_bytes = 165 * MIB, 999 * MIB
    here.go(50)
    (alert,) = here.alerts.recent()
    assert (alert.value, alert.limit_bytes) == (165 * MIB, 200 * MIB)


def test_a_limit_whose_use_is_not_known_is_judged_by_the_process(
    world: Callable[..., World],
) -> None:
    here = world()
    here.machine.rss_bytes, here.machine.usage_bytes = 850 * MIB, None
    here.go(50)
    assert [alert.value for alert in here.alerts.recent()] == [850 * MIB]


def test_without_a_limit_shares_are_silent(world: Callable[..., World]) -> None:
    here = world()
    here.machine.limit = here.machine.usage_bytes = None
    here.use(10**6, readings=50)
    assert here.events() == []


def test_a_leak_names_its_suspect_and_its_line(world: Callable[..., World]) -> None:
    here = world()
    here.leak(3.5, 35)
    (event,) = here.events()
    assert event.event_name == "otel_memory.leak.suspected"
    assert event.severity_number == SeverityNumber.WARN
    attributes = dict(event.attributes)
    growth = attributes.pop("otel_memory.alert.growth")
    assert growth == attributes.pop("otel_memory.alert.value")
    assert isinstance(growth, int)
    assert growth == pytest.approx(35 * MIB, rel=0.05)
    (suspect,) = attributes.pop("otel_memory.alert.suspects")
    assert re.fullmatch(
        r"get_product_list \(GET /recommend\) \+3[45]\.. MiB/h", suspect
    )
    (site,) = attributes.pop("otel_memory.alert.top_sites")
    assert site.startswith("/shop/cache.py:60 get_product_list ")
    assert attributes == {
        "otel_memory.alert.kind": "leak",
        "otel_memory.alert.limit": LIMIT,
        "otel_memory.alert.leak.state": "leaking",
    }
    assert "memory leaks +35." in event.body
    assert "h to the limit" in event.body
    assert f"Suspects: {suspect} at /shop/cache.py:60." in event.body
    (alert,) = here.alerts.recent()
    assert alert.leak_state == LEAKING
    assert alert.interval is not None
    assert (alert.suspects[0].span, alert.suspects[0].entry) == LEAKER
    assert alert.threshold is None
    assert here.findings.assessment is not None
    assert here.findings.assessment.state == LEAKING


def test_nothing_is_judged_in_the_first_hour(world: Callable[..., World]) -> None:
    here = world()
    here.leak(0.9, 300)
    assert here.findings.assessment is None
    here.leak(0.2, 300)
    assert here.findings.assessment is not None
    assert here.events() == []


def test_growth_above_its_threshold_is_told(world: Callable[..., World]) -> None:
    here = world(growth_warning_bytes_per_hour="30MiB/h")
    here.leak(3.6, 35)
    assert [alert.kind for alert in here.alerts.recent()] == ["leak", "growth"]
    growth = here.alerts.recent()[1]
    assert (growth.event, growth.threshold) == (THRESHOLD, 30 * MIB)
    assert "(warning at 30.0 MiB/h)" in growth.message


def test_a_leak_that_ends_is_over(world: Callable[..., World]) -> None:
    here = world()
    here.leak(3.5, 35)
    here.go(8 * HOUR, step=60)
    assert [(a.kind, a.recovered) for a in here.alerts.recent()] == [
        ("leak", False),
        ("leak", True),
    ]
    assert here.alerts.recent()[1].message.startswith("memory no longer leaks: ")


def test_a_heap_that_cannot_be_read_costs_the_evidence_not_the_alert(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    _guard.set_reraise(False)
    _guard.forget()
    here = world()
    here.heap.fails = True
    here.use(850)
    (event,) = here.events()
    assert event.body.endswith("(warning at 80%).")
    assert "watcher: evidence" in caplog.text


def test_only_the_last_alerts_are_kept(world: Callable[..., World]) -> None:
    here = world(critical="off")
    for _ in range(RECENT_MAX):
        here.use(850)
        here.use(500, readings=6)
    assert len(here.alerts.recent()) == RECENT_MAX
    assert here.findings.alerts["warning"] == RECENT_MAX
    assert isinstance(here.alerts.recent()[0], MemoryAlert)


def test_details_are_read_only_where_they_are_asked_for(
    world: Callable[..., World],
) -> None:
    without, with_ = world(), world(smaps=True)
    for here in (without, with_):
        here.go(20)
    assert without.findings.details is None
    assert with_.findings.details == (1, 2, 3)
    assert with_.findings.watcher_seconds > 0


def entry(number: int) -> Entry:
    return Entry(f"GET /{number}", "SERVER", number, 0, 0, 0)


def test_entries_are_fetched_at_once_and_then_in_time(
    world: Callable[..., World],
) -> None:
    here = world(interval_seconds=60.0)
    here.go(1, step=1)
    assert here.heap.takes == 1  # from then on they are kept
    here.heap.ring = [entry(1), entry(2)]
    here.go(58, step=1)
    assert here.recorded == []
    here.go(2, step=1)
    assert here.recorded == [entry(1), entry(2)]


def test_what_waits_at_the_end_is_recorded(world: Callable[..., World]) -> None:
    here = world()
    here.go(10)
    here.heap.ring = [entry(1)]
    here.watcher.stop(final=True)
    assert here.recorded == [entry(1)]


def test_a_task_that_fails_leaves_the_others_alone(
    world: Callable[..., World],
) -> None:
    _guard.set_reraise(False)
    here = world(smaps=True)
    here.machine.resident = None  # type: ignore[assignment,method-assign]
    here.go(20)
    assert here.findings.details is not None
    assert here.heap.takes == 2


# --- Handlers ----------------------------------------------------------------


class Handled:
    """A handler that can be waited for."""

    def __init__(self) -> None:
        self.alerts: list[object] = []
        self.threads: set[str] = set()
        self._arrived = threading.Condition()

    def __call__(self, alert: object) -> None:
        with self._arrived:
            self.alerts.append(alert)
            self.threads.add(threading.current_thread().name)
            self._arrived.notify()

    def wait_for(self, count: int) -> None:
        with self._arrived:
            assert self._arrived.wait_for(
                lambda: len(self.alerts) >= count, WAIT_SECONDS
            )


def on_alert(alert: object) -> None:
    by_name(alert)


by_name = Handled()


def test_a_handler_gets_each_alert_in_another_thread(
    world: Callable[..., World],
) -> None:
    handled = Handled()
    here = world(alert_handlers=[handled])
    here.use(850)
    handled.wait_for(1)
    here.use(950)
    handled.wait_for(2)
    assert tuple(handled.alerts) == here.alerts.recent()
    assert handled.threads == {"otel-memory-alerts"}


def test_there_is_no_thread_before_the_first_alert(
    world: Callable[..., World],
) -> None:
    before = set(threading.enumerate())
    here = world(alert_handlers=[print, "no_such_module_anywhere:f"])
    here.use(500, readings=20)
    assert set(threading.enumerate()) <= before


def test_a_handler_may_be_given_by_name(world: Callable[..., World]) -> None:
    here = world(alert_handlers=f"{__name__}:on_alert,{__name__}:by_name.__call__")
    here.use(850)
    by_name.wait_for(2)
    assert by_name.alerts == [here.alerts.recent()[0]] * 2


def test_handlers_that_fail_are_named_once_and_harm_nobody(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(alert: MemoryAlert) -> None:
        raise KeyError("planned")

    def leaves(alert: MemoryAlert) -> None:
        raise SystemExit(3)

    handled = Handled()
    names = ["no_such_module_anywhere:f", "otel_memory.units:no_such_function"]
    here = world(alert_handlers=[*names, fails, leaves, handled], critical="off")
    for count in (1, 3):
        here.use(850)
        here.use(500, readings=6)
        handled.wait_for(count + 1)
    failed = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(failed) == 4
    for message, name in zip(failed, (*names, "fails", "leaves"), strict=True):
        assert message.startswith("the alert handler ")
        assert name in message
    assert len(here.events()) == 4


def test_a_handler_that_never_returns_stops_only_handlers(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    entered, released = threading.Event(), threading.Event()

    def sleeps(alert: MemoryAlert) -> None:
        entered.set()
        released.wait(WAIT_SECONDS)

    here = world(alert_handlers=[sleeps], critical="off")
    here.use(850)
    assert entered.wait(WAIT_SECONDS)
    here.use(500, readings=6)
    for _ in range(_handlers.QUEUE_MAX):
        here.use(850)
        here.use(500, readings=6)
    released.set()
    assert len(here.events()) == 2 + 2 * _handlers.QUEUE_MAX
    dropped = [r for r in caplog.records if "have not returned" in r.getMessage()]
    assert len(dropped) == 1
