# SPDX-License-Identifier: Apache-2.0
"""track_memory: what it measures, and that nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import traceback

from _tools import (
    ALLOCATED,
    DELTA,
    MIB,
    Logged,
    attributes_of,
    raised_by,
    run_case,
    start,
    telemetry,
)
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from otel_memory import MemoryFigures, MemoryInstrumentor, track_memory


class Planned(Exception):
    pass


def span(name):
    found = [s for s in telemetry.exporter.get_finished_spans() if s.name == name]
    assert len(found) == 1, (name, telemetry.exporter.get_finished_spans())
    return found[0]


def about(value, mib):
    assert abs(value / MIB - mib) < 0.1, (value / MIB, mib)


@track_memory
def plain(mib, *, keep=False):
    """Documentation."""
    block = bytes(mib * MIB)
    return block if keep else len(block)


def case_functions_keep_their_ways():
    start()
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "Documentation."
    assert str(inspect.signature(plain)) == "(mib, *, keep=False)"
    assert plain(3) == 3 * MIB
    attributes = attributes_of("plain")
    about(attributes[ALLOCATED], 3)
    assert attributes["code.function.name"] == "__main__.plain"
    kept = plain(2, keep=True)
    about(attributes_of("plain")[DELTA], 2)
    assert len(kept) == 2 * MIB


def case_arguments_give_name_kind_and_figures():
    start()
    told = []

    @track_memory("load prices", kind=SpanKind.CONSUMER, on_end=told.append)
    def load():
        return len(bytes(4 * MIB))

    load()
    assert span("load prices").kind is SpanKind.CONSUMER
    (figures,) = told
    assert type(figures) is MemoryFigures
    about(figures.allocated_bytes, 4)
    about(figures.peak_bytes, 4)
    assert figures.allocated_bytes == span("load prices").attributes[ALLOCATED]
    assert figures.rss_exclusive is True
    assert type(figures.rss_delta_bytes) is int


def case_coroutine_functions():
    start()

    @track_memory
    async def fetch(mib):
        block = bytes(mib * MIB)
        await asyncio.sleep(0)
        return len(block)

    async def main():
        return await asyncio.gather(fetch(1), fetch(5))

    assert inspect.iscoroutinefunction(fetch)
    assert asyncio.run(main()) == [MIB, 5 * MIB]
    allocated = sorted(
        s.attributes[ALLOCATED] for s in telemetry.exporter.get_finished_spans()
    )
    about(allocated[0], 1)
    about(allocated[1], 5)


def case_a_generators_consumer_is_not_charged():
    tracer = start()

    @track_memory("generator")
    def numbers():
        total = 0
        for _ in range(3):
            block = bytes(MIB)
            sent = yield len(block)
            total += sent or 0
        return total

    assert inspect.isgeneratorfunction(numbers)

    def consumer():
        generator = numbers()
        kept = [bytes(2 * MIB), next(generator)]
        for sent in (10, 20):
            kept.append(bytes(2 * MIB))
            kept.append(generator.send(sent))
            assert trace.get_current_span() is outer
        try:
            generator.send(30)
        except StopIteration as stop:
            return stop.value, kept
        raise AssertionError

    with tracer.start_as_current_span("consumer") as outer:
        total, kept = consumer()
    assert total == 60
    assert kept[1::2] == [MIB] * 3
    about(attributes_of("generator")[ALLOCATED], 3)
    about(attributes_of("consumer")["otel_memory.heap.self.allocated"], 6)
    about(attributes_of("consumer")[ALLOCATED], 9)
    assert span("generator").status.status_code is StatusCode.UNSET
    assert not span("generator").events


def case_generators_behave_as_undecorated():
    start()

    def made():
        log = []

        def generator():
            try:
                while True:
                    try:
                        log.append((yield len(log)))
                    except KeyError as error:
                        log.append(type(error).__name__)
            finally:
                log.append("closed")

        return generator, log

    def drive(generator, log):
        running = generator()
        seen = [next(running), running.send("a"), running.throw(KeyError("k"))]
        seen.append(next(running))
        running.close()
        running.close()
        try:
            next(running)
        except StopIteration as stop:
            seen.append(stop.value)
        return seen, log

    generator, log = made()
    expected = drive(generator, log)
    generator, log = made()
    assert drive(track_memory(generator), log) == expected

    @track_memory
    def delegating():
        return (yield from inner())

    @track_memory
    def inner():
        got = yield 1
        return got * 2

    running = delegating()
    assert next(running) == 1
    stop = raised_by(running.send, 21)
    assert type(stop) is StopIteration
    assert stop.value == 42

    @track_memory
    def fails():
        yield 1
        raise Planned("generator")

    running = fails()
    next(running)
    error = raised_by(next, running)
    assert type(error) is Planned
    assert traceback.extract_tb(error.__traceback__)[-1].name == "fails"
    name = "case_generators_behave_as_undecorated.<locals>.fails"
    assert span(name).status.status_code is StatusCode.ERROR

    @track_memory
    def refuses_to_close():
        while True:
            with contextlib.suppress(GeneratorExit):
                yield 1

    running = refuses_to_close()
    next(running)
    error = raised_by(running.close)
    assert type(error) is RuntimeError
    assert "ignored GeneratorExit" in str(error)


def case_async_generators():
    tracer = start()

    @track_memory("async generator")
    async def numbers():
        for i in range(3):
            block = bytes(MIB)
            await asyncio.sleep(0)
            yield i + len(block) - MIB

    async def main():
        kept = []
        with tracer.start_as_current_span("consumer") as outer:
            async for number in numbers():
                kept.append((number, bytes(2 * MIB)))
                assert trace.get_current_span() is outer
        return [number for number, _ in kept]

    assert inspect.isasyncgenfunction(numbers)
    assert asyncio.run(main()) == [0, 1, 2]
    about(attributes_of("async generator")[ALLOCATED], 3)
    about(attributes_of("consumer")["otel_memory.heap.self.allocated"], 6)
    assert span("async generator").status.status_code is StatusCode.UNSET


def case_async_generators_behave_as_undecorated():
    start()

    def made():
        log = []

        async def generator():
            try:
                while True:
                    try:
                        log.append((yield len(log)))
                        await asyncio.sleep(0)
                    except KeyError as error:
                        log.append(type(error).__name__)
            finally:
                await asyncio.sleep(0)
                log.append("closed")

        return generator, log

    async def drive(generator, log):
        running = generator()
        seen = [await running.__anext__(), await running.asend("a")]
        seen.append(await running.athrow(KeyError("k")))
        await running.aclose()
        seen.append(list(log))  # now, not when the loop tidies up
        await running.aclose()
        try:
            await running.__anext__()
        except StopAsyncIteration:
            seen.append("stopped")
        return seen, log

    generator, log = made()
    expected = asyncio.run(drive(generator, log))
    generator, log = made()
    assert asyncio.run(drive(track_memory(generator), log)) == expected
    assert expected[1][-1] == "closed"


def _throw_away_in_another_context(generator):
    """In the middle of a step, and outside of any loop, as after its end."""
    left = [generator()]
    left.append(left[0].__anext__())
    contextvars.copy_context().run(left[1].send, None)

    def throw_away():
        left.pop().close()
        left.clear()
        gc.collect()

    contextvars.Context().run(throw_away)


def case_abandoned_generators_log_nothing():
    start()
    logged = Logged()
    unraisable = []
    import sys

    sys.unraisablehook = unraisable.append

    @track_memory("abandoned async")
    async def numbers():
        while True:
            await asyncio.sleep(0)
            yield bytes(1000)

    @track_memory("abandoned")
    def plain_numbers():
        while True:
            yield bytes(1000)

    async def dropped_while_the_loop_runs():
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(0.01)

    async def dropped_with_the_loop():
        running = numbers()
        await running.__anext__()
        globals()["left over"] = running

    async def cancelled():
        async def consume():
            async for _ in numbers():
                pass

        task = asyncio.create_task(consume())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def never_started():
        numbers()

    for main in (
        dropped_while_the_loop_runs,
        dropped_with_the_loop,
        cancelled,
        never_started,
    ):
        asyncio.run(main())
    globals().pop("left over")
    next(plain_numbers())
    left = plain_numbers()
    next(left)
    del left
    gc.collect()
    _throw_away_in_another_context(numbers)
    assert logged.lines == [], logged.lines
    assert unraisable == [], unraisable
    ended = [s.name for s in telemetry.exporter.get_finished_spans()]
    assert ended.count("abandoned") == 2, ended
    assert ended.count("abandoned async") == 4, ended
    for each in telemetry.exporter.get_finished_spans():
        assert each.status.status_code is StatusCode.UNSET, each.to_json()
    assert trace.get_current_span() is trace.INVALID_SPAN


def case_without_an_sdk_abandoned_generators_log_nothing():
    MemoryInstrumentor().instrument()
    logged = Logged()

    @track_memory
    async def numbers():
        while True:
            await asyncio.sleep(0)
            yield 1

    async def main():
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(0.01)

    asyncio.run(main())
    _throw_away_in_another_context(numbers)
    assert logged.lines == [], logged.lines


def case_methods_of_all_kinds():
    start()

    class Shop:
        size = MIB

        @track_memory
        def method(self):
            return self, bytes(self.size)

        @track_memory
        @staticmethod
        def static_under():
            return bytes(MIB)

        @staticmethod
        @track_memory
        def static_over():
            return bytes(MIB)

        @track_memory
        @classmethod
        def class_under(cls):
            return cls, bytes(cls.size)

        @classmethod
        @track_memory
        def class_over(cls):
            return cls, bytes(cls.size)

        @property
        @track_memory
        def value(self):
            return bytes(self.size)

        @track_memory
        async def later(self):
            await asyncio.sleep(0)
            return self

    class Branch(Shop):
        size = 2 * MIB

    shop = Branch()
    assert shop.method()[0] is shop
    assert Shop.method(shop)[0] is shop
    assert len(shop.static_under()) == len(Branch.static_over()) == MIB
    assert shop.class_under()[0] is Branch.class_over()[0] is Branch
    assert len(shop.value) == 2 * MIB
    assert asyncio.run(shop.later()) is shop
    short = [s.name.split(".")[-1] for s in telemetry.exporter.get_finished_spans()]
    assert short == [
        *("method", "method", "static_under", "static_over", "class_under"),
        *("class_over", "value", "later"),
    ], short
    for each in telemetry.exporter.get_finished_spans():
        assert each.attributes["code.function.name"] == f"__main__.{each.name}"
        assert ALLOCATED in each.attributes


def case_exceptions_pass_through_untouched():
    start()
    planned = Planned("planned")

    def fails():
        raise planned

    async def fails_later():
        await asyncio.sleep(0)
        raise planned

    def generates():
        yield fails()

    async def generates_later():
        yield await fails_later()

    async def consume():
        async for _ in track_memory("async generator")(generates_later)():
            pass

    def with_block():
        with track_memory("block"):
            fails()

    async def with_async_block():
        async with track_memory("async block"):
            await fails_later()

    for name, function in {
        "call": track_memory("call")(fails),
        "coroutine": lambda: asyncio.run(track_memory("coroutine")(fails_later)()),
        "generator": lambda: list(track_memory("generator")(generates)()),
        "async generator": lambda: asyncio.run(consume()),
        "block": with_block,
        "async block": lambda: asyncio.run(with_async_block()),
    }.items():
        planned.__traceback__ = planned.__context__ = planned.__cause__ = None
        error = raised_by(function)
        assert error is planned, name
        assert error.__context__ is None, name
        assert error.__cause__ is None, name
        last = traceback.extract_tb(error.__traceback__)[-1].name
        assert last in ("fails", "fails_later"), (name, last)
        assert span(name).status.status_code is StatusCode.ERROR, name
        assert len(span(name).events) == 1, name
        assert ALLOCATED in span(name).attributes, name
        assert trace.get_current_span() is trace.INVALID_SPAN


def case_odd_exceptions_pass_through_too():
    start()
    for error in (
        StopIteration(7),
        StopAsyncIteration(),
        GeneratorExit(),
        KeyboardInterrupt(),
        SystemExit(3),
        asyncio.CancelledError(),
    ):

        @track_memory
        def raises(error=error):
            raise error

        for function in (raises, lambda error=error: _in_block(error)):
            assert raised_by(function) is error, error
    for each in telemetry.exporter.get_finished_spans():
        assert each.status.status_code is StatusCode.UNSET
    assert trace.get_current_span() is trace.INVALID_SPAN


def _in_block(error):
    with track_memory("block"):
        raise error


def case_a_failing_on_end_is_ours_to_bear():
    from otel_memory import _guard

    start()
    _guard.set_reraise(False)
    _guard._reported.add("track_memory: on_end")  # what is logged is not the point

    def fails(figures):
        raise Planned("on_end")

    @track_memory(on_end=fails)
    def work():
        return 7

    assert work() == 7


def case_blocks_show_figures_while_they_run():
    start()
    with track_memory("block") as figures:
        block = bytes(3 * MIB)
        about(figures.delta_bytes, 3)
        assert figures.rss_delta_bytes is None
        assert figures.rss_exclusive is None
        with track_memory("inner") as inner:
            inner_block = bytes(2 * MIB)
        del block
        assert figures.delta_bytes < 2.1 * MIB
    about(inner.delta_bytes, 2)
    about(figures.allocated_bytes, 5)
    about(figures.self_allocated_bytes, 3)
    about(figures.peak_bytes, 5)
    about(figures.delta_bytes, 2)
    before = repr(figures)
    after_the_end = bytes(MIB)
    assert repr(figures) == before, "figures change after the end"
    assert "allocated_bytes=" in before
    del inner_block, after_the_end
    inner_span, outer_span = telemetry.exporter.get_finished_spans()
    assert inner_span.parent.span_id == outer_span.context.span_id


def case_async_blocks_of_many_tasks_are_apart():
    start()

    async def work(mib):
        async with track_memory(f"task {mib}") as figures:
            await asyncio.sleep(0)
            block = bytes(mib * MIB)
            await asyncio.sleep(0)
            del block
        return figures.allocated_bytes

    async def main():
        return await asyncio.gather(*(work(mib) for mib in range(1, 6)))

    for mib, allocated in enumerate(asyncio.run(main()), 1):
        about(allocated, mib)


def case_one_block_object_may_be_entered_again():
    start()
    block = track_memory("again")
    with block as outer:
        first = bytes(MIB)
        with block as inner:
            second = bytes(2 * MIB)
    del first, second
    about(inner.allocated_bytes, 2)
    about(outer.allocated_bytes, 3)
    with block as third:
        pass
    assert third.allocated_bytes < MIB


def case_without_instrument_nothing_is_measured():
    @track_memory
    def work():
        return 7

    told = []
    with track_memory("block") as figures:
        assert work() == 7
        assert track_memory(on_end=told.append)(plain)(1) == MIB
    for each in (figures, *told):
        for name in ("allocated", "self_allocated", "delta", "peak", "rss_delta"):
            assert getattr(each, f"{name}_bytes") is None, name
        assert each.rss_exclusive is None
    assert list(track_memory(_three)()) == [0, 1, 2]


def _three():
    yield from range(3)


def case_without_an_sdk_figures_are_there_nested_too():
    MemoryInstrumentor().instrument()
    with track_memory("outer") as outer:
        first = bytes(MIB)
        with track_memory("inner") as inner:
            second = bytes(2 * MIB)
        third = bytes(3 * MIB)

        @track_memory
        def work():
            return len(bytes(4 * MIB))

        work()
        fourth = bytes(MIB)
    del first, second, third, fourth
    about(inner.allocated_bytes, 2)
    about(outer.self_allocated_bytes, 5)
    about(outer.allocated_bytes, 11)
    about(outer.delta_bytes, 7)
    assert outer.rss_exclusive is True
    assert not trace.get_current_span().get_span_context().is_valid
    after = outer.allocated_bytes
    block = bytes(MIB)
    assert outer.allocated_bytes == after
    del block

    async def in_tasks(mib):
        async with track_memory("task") as figures:
            await asyncio.sleep(0)
            block = bytes(mib * MIB)
            await asyncio.sleep(0)
            del block
        return figures.allocated_bytes

    async def main():
        return await asyncio.gather(*(in_tasks(mib) for mib in (1, 2, 3)))

    for mib, allocated in enumerate(asyncio.run(main()), 1):
        about(allocated, mib)


def case_unsampled_spans_have_figures():
    from _tools import start_with
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    start_with(TracerProvider(sampler=ALWAYS_OFF))
    with track_memory("unsampled") as figures:
        block = bytes(2 * MIB)
    about(figures.delta_bytes, 2)
    del block


def case_what_cannot_be_decorated_is_refused():
    for wrong in (7, None, object()):
        error = raised_by(track_memory("x"), wrong)
        assert type(error) is TypeError
        assert repr(wrong) in str(error)


def case_a_callable_without_a_name_can_be_decorated():
    import functools

    start()

    class Callable:
        def __call__(self, x):
            return x

    assert track_memory("object")(Callable())(7) == 7
    assert track_memory("partial")(functools.partial(max, 3))(7) == 7
    assert track_memory("builtin")(max)(3, 7) == 7
    assert track_memory(Callable())(8) == 8
    for name in ("object", "partial", "builtin"):
        assert ALLOCATED in attributes_of(name)


if __name__ == "__main__":
    run_case()
