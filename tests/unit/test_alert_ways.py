# SPDX-License-Identifier: Apache-2.0
"""The ways an alert goes: one that fails leaves the others, and threads end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_memory import _guard, semconv
from otel_memory.alerts import (
    Alerts,
    Change,
    Evidence,
    Handlers,
    MemoryAlert,
    make_alert,
)
from otel_memory.alerts._handlers import QUEUE_MAX
from otel_memory.findings import Findings

WAIT_SECONDS = 30  # for another thread; a failing test only
ALERT = make_alert(Change("critical", False, 950e6, 900e6), None, None, Evidence())


class Events:
    """Where events go."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def emit(self, *, event_name: str, **record: Any) -> None:
        self.names.append(event_name)


class Unreachable(Events):
    """Of a logger provider that fails."""

    def emit(self, *, event_name: str, **record: Any) -> None:
        raise ConnectionError("planned")


class Handled:
    """A handler that says what it got, and in which thread."""

    def __init__(self) -> None:
        self.alerts: queue.Queue[object] = queue.Queue()
        self.thread: threading.Thread | None = None

    def __call__(self, alert: object) -> None:
        self.thread = threading.current_thread()
        self.alerts.put(alert)

    def wait(self) -> object:
        return self.alerts.get(timeout=WAIT_SECONDS)


class Ways:
    """The three ways, of which some may be made to fail."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.handled = Handled()
        self.handlers = Handlers([self.handled])
        self.alerts = Alerts(events, Findings(), self.handlers)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def as_outside_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    _guard.set_reraise(False)
    monkeypatch.setattr(Findings, "alerts", dict.fromkeys(semconv.ALERT_KINDS, 0))


@pytest.fixture
def ways() -> Iterator[Callable[..., Ways]]:
    made: list[Ways] = []

    def make(events: Events | None = None) -> Ways:
        made.append(Ways(events or Events()))
        return made[-1]

    yield make
    for each in made:
        each.alerts.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def fail_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_that_cannot_start_costs_neither_line_nor_event(
    ways: Callable[..., Ways],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = ways()
    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", fail_to_start)
        # More than can wait: those that do are not forgotten over the rest.
        for _ in range(QUEUE_MAX + 1):
            here.alerts.send(ALERT)
    assert here.events.names == [ALERT.event] * (QUEUE_MAX + 1)
    assert lines(caplog).count(ALERT.message) == QUEUE_MAX + 1
    here.alerts.send(ALERT)
    assert [here.handled.wait() for _ in range(QUEUE_MAX)] == [ALERT] * QUEUE_MAX


def test_a_provider_that_fails_costs_neither_line_nor_handlers(
    ways: Callable[..., Ways], caplog: pytest.LogCaptureFixture
) -> None:
    here = ways(Unreachable())
    here.alerts.send(ALERT)
    assert ALERT.message in lines(caplog)
    assert here.handled.wait() is ALERT
    assert Findings.alerts["critical"] == 1


def test_a_log_that_fails_costs_neither_event_nor_handlers(
    ways: Callable[..., Ways],
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError("planned")

    here = ways()
    logger = logging.getLogger("otel_memory")
    logger.addFilter(refuse)
    try:
        here.alerts.send(ALERT)
    finally:
        logger.removeFilter(refuse)
    assert here.events.names == [ALERT.event]
    assert here.handled.wait() is ALERT


def test_the_line_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    before: list[list[str]] = []

    class Watches(Events):
        def emit(self, *, event_name: str, **record: Any) -> None:
            before.append(lines(caplog))

    Alerts(Watches(), Findings(), Handlers([])).send(ALERT)  # type: ignore[arg-type]
    assert before == [[ALERT.message]]


# --- The handlers' thread ----------------------------------------------------


def ended(thread: threading.Thread | None) -> bool:
    assert thread is not None
    thread.join(WAIT_SECONDS)
    return not thread.is_alive()


def test_closing_ends_the_thread_after_what_waits(ways: Callable[..., Ways]) -> None:
    here = ways()
    entered, go_on = threading.Event(), threading.Event()

    def holds(alert: object) -> None:
        entered.set()
        go_on.wait(WAIT_SECONDS)

    handlers = Handlers([holds, here.handled])
    handlers.hand_over(0)
    assert entered.wait(WAIT_SECONDS)
    for number in (1, 2):
        handlers.hand_over(number)
    handlers.close()  # which waits for nothing
    handlers.hand_over(3)
    go_on.set()
    assert [here.handled.wait() for _ in range(3)] == [0, 1, 2]
    assert ended(here.handled.thread)
    assert here.handled.alerts.empty()


def test_closing_with_a_full_queue_ends_the_thread_too() -> None:
    entered, go_on = threading.Event(), threading.Event()
    handled = Handled()

    def holds(alert: object) -> None:
        entered.set()
        go_on.wait(WAIT_SECONDS)

    handlers = Handlers([holds, handled])
    handlers.hand_over(0)
    assert entered.wait(WAIT_SECONDS)
    for number in range(1, QUEUE_MAX + 1):
        handlers.hand_over(number)
    handlers.close()
    go_on.set()
    assert [handled.wait() for _ in range(QUEUE_MAX + 1)] == [*range(QUEUE_MAX + 1)]
    assert ended(handled.thread)


def test_nothing_starts_after_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = Handlers([Handled()])
    handlers.close()
    handlers.close()
    monkeypatch.setattr(threading.Thread, "start", fail_to_start)
    handlers.hand_over(1)


def test_a_log_that_fails_does_not_end_the_thread() -> None:
    """The failure of one handler is told, or not; the next alert is handled."""
    handled = Handled()

    def fails(alert: object) -> None:
        raise KeyError("planned")

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError("planned")

    handlers = Handlers([fails, handled])
    logger = logging.getLogger("otel_memory")
    logger.addFilter(refuse)
    try:
        handlers.hand_over(1)
        assert handled.wait() == 1
    finally:
        logger.removeFilter(refuse)
    handlers.hand_over(2)
    assert handled.wait() == 2
    handlers.close()
    assert ended(handled.thread)


class Pager:
    """A handler by its method, as there may be several of."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_alert(self, alert: MemoryAlert) -> None:
        raise KeyError(self.name)


def test_each_of_several_handlers_that_fail_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handled = Handled()
    methods = [Pager("first").on_alert, Pager("second").on_alert]
    handlers = Handlers([*methods, "no_such_module_anywhere:f", handled])
    for number in range(3):
        handlers.hand_over(number)
    for _ in range(3):
        handled.wait()
    handlers.close()
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().split(" failed;")[0] for record in failed] == [
        "the alert handler no_such_module_anywhere:f (number 3)",  # is looked up first
        f"the alert handler {__name__}:Pager.on_alert (number 1)",
        f"the alert handler {__name__}:Pager.on_alert (number 2)",
    ]
    causes = {str(record.exc_info[1]) for record in failed if record.exc_info}
    assert {"'first'", "'second'"} <= causes
