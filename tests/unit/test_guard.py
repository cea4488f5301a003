# SPDX-License-Identifier: Apache-2.0
"""Our failures never reach the application, unless a test asks for them."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import AsyncIterator, Iterator
from threading import Thread

import pytest

from otel_memory import _guard
from otel_memory.errors import CommandError, OtelMemoryError


@pytest.fixture(autouse=True)
def production() -> Iterator[None]:
    """As in production, whatever the environment of the test run says."""
    before = _guard.reraises()
    _guard.set_reraise(False)
    _guard.forget()
    yield
    _guard.set_reraise(before)
    _guard.forget()


def fail(*_: object, **__: object) -> int:
    raise LookupError("our bug")


def test_a_decorated_function_gives_its_default_when_it_fails() -> None:
    assert _guard.guard("place", default=-1)(fail)() == -1
    assert _guard.guard("place")(fail)() is None


def test_a_decorated_function_that_works_is_left_alone() -> None:
    @_guard.guard("place", default=0)
    def add(a: int, *, b: int) -> int:
        """Add."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")


def test_a_guarded_block_swallows_what_fails_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with _guard.guard("place"):
        fail()
    (record,) = caplog.records
    assert record.name == "otel_memory"
    assert "place" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)


def test_a_called_function_gives_its_result_or_the_default() -> None:
    assert _guard.call("place", max, 1, 2, default=0) == 2
    assert _guard.call("place", fail, 1, key="x", default=0) == 0


def test_each_place_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for place in ("a", "b", "a", "b", "a"):
        _guard.call(place, fail, default=None)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    _guard.forget()
    _guard.call("a", fail, default=None)
    assert len(caplog.records) == 3


def test_every_failure_counts_those_that_are_not_logged_too() -> None:
    assert _guard.failure_count() == 0
    _guard.call("a", max, 1, 2, default=0)
    for place in ("a", "b", "a"):
        _guard.call(place, fail, default=None)
    with _guard.guard("c"):
        fail()
    _guard.guard("d")(fail)()
    assert _guard.failure_count() == 5
    _guard.forget()
    assert _guard.failure_count() == 0


def test_a_forked_child_counts_and_logs_its_own_failures() -> None:
    _guard.call("a", fail, default=None)
    child = os.fork()
    if child == 0:
        counts = [_guard.failure_count()]
        _guard.call("a", fail, default=None)
        counts.append(_guard.failure_count())
        os._exit(0 if counts == [0, 1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert _guard.failure_count() == 1


def test_under_test_a_failure_is_raised_and_still_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    decorated = _guard.guard("decorated", default=0)(fail)
    _guard.set_reraise(True)
    with pytest.raises(LookupError):
        decorated()
    with pytest.raises(LookupError), _guard.guard("block"):
        fail()
    with pytest.raises(LookupError):
        _guard.call("call", fail, default=None)
    assert len(caplog.records) == 3


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_and_exits_are_the_applications(kind: type[BaseException]) -> None:
    def interrupted() -> None:
        raise kind

    with pytest.raises(kind):
        _guard.guard("decorated")(interrupted)()
    with pytest.raises(kind), _guard.guard("block"):
        interrupted()
    with pytest.raises(kind):
        _guard.call("call", interrupted, default=None)


def test_a_log_handler_that_raises_does_not_matter() -> None:
    class Broken(logging.Handler):
        handled = 0

        def emit(self, record: logging.LogRecord) -> None:
            Broken.handled += 1
            raise RuntimeError("the application's handler")

    handler = Broken()
    logger = logging.getLogger("otel_memory")
    logger.addHandler(handler)
    try:
        assert _guard.call("place", fail, default=0) == 0
    finally:
        logger.removeHandler(handler)
    assert Broken.handled == 1


def test_a_log_handler_that_comes_back_to_the_same_place_does_not_recurse() -> None:
    class Telemetry(logging.Handler):
        handled = 0

        def emit(self, record: logging.LogRecord) -> None:
            Telemetry.handled += 1
            _guard.call("spans: start", fail, default=None)

    handler = Telemetry()
    logger = logging.getLogger("otel_memory")
    logger.addHandler(handler)
    try:
        _guard.call("spans: start", fail, default=None)
    finally:
        logger.removeHandler(handler)
    assert Telemetry.handled == 1


def test_one_guard_serves_nested_blocks_and_many_threads() -> None:
    shared = _guard.guard("place")
    finished = []

    def work() -> None:
        with shared:
            with shared:
                fail()
            finished.append(True)
            fail()

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert finished == [True] * 8


def test_functions_that_run_later_cannot_be_decorated() -> None:
    async def coroutine() -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    for function in (coroutine, generator, async_generator):
        with pytest.raises(TypeError, match=function.__name__):
            _guard.guard("place")(function)


def test_a_command_error_carries_its_message_and_exit_code() -> None:
    error = CommandError("no such recording", exit_code=3)
    assert isinstance(error, OtelMemoryError)
    assert (str(error), error.exit_code) == ("no such recording", 3)
    assert CommandError("x").exit_code == 2
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.exit_code) == ("no such recording", 3)
