# SPDX-License-Identifier: Apache-2.0
"""Spans with memory figures around functions and blocks of one's own choice.

`track_memory` by hand, as decorator and context manager; `FunctionWrapping` by
name, for `OTEL_PYTHON_MEMORY_FUNCTIONS`. Exceptions pass through untouched.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar, overload

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_memory import _guard, semconv
from otel_memory.figures import MemoryFigures, open_account

_F = TypeVar("_F", bound=Callable[..., Any])

CODE_FUNCTION_NAME = "code.function.name"


def _start(name: str, kind: SpanKind, attributes: dict[str, str] | None) -> Any:
    tracer = trace.get_tracer(semconv.SCOPE_NAME)
    return tracer.start_span(name, kind=kind, attributes=attributes)


class _Block:
    """One span around one block, which may be entered and left many times."""

    def __init__(
        self, name: str, kind: SpanKind, attributes: dict[str, str] | None = None
    ) -> None:
        self._span = _start(name, kind, attributes)
        self._account = open_account(self._span, name, kind.value)
        self.figures = MemoryFigures(self._account)
        # Without an SDK the span is the one that is current already, mostly none.
        # Attaching it would hide from our context variable what the block belongs
        # to, and in a context of its own nobody could tell whether to detach it.
        is_current = self._span is trace.get_current_span()
        self._context = None if is_current else trace.set_span_in_context(self._span)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the span current for one step of the block."""
        context = self._context
        token = None if context is None else context_api.attach(context)
        own = self._account.enter()
        try:
            yield
        except Exception as error:
            # As start_as_current_span does; StopIteration and the like are no error.
            if not isinstance(error, StopIteration | StopAsyncIteration):
                self._span.record_exception(error)
                self._span.set_status(
                    Status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
                )
            raise
        finally:
            self._account.leave(own)
            # An async generator that is closed by the event loop ends in another
            # task; there is nothing of ours to take back there.
            if token is not None and trace.get_current_span() is self._span:
                context_api.detach(token)

    def end(self) -> None:
        """End the span; the figures stay as they are."""
        self._span.end()
        self._account.finish()


class track_memory:
    """Give a function or a block a span of its own, with memory figures.

    As a decorator, with or without arguments, of functions, coroutine functions,
    generators and async generators; as a context manager, sync or async::

        @track_memory
        def build_report(): ...

        with track_memory("load prices") as figures:
            prices = load()
        print(figures.delta_bytes)

    A decorated generator's span is current only while the generator itself runs. A
    block with a `yield` inside is current while its consumer runs too, so it gets
    what the consumer does meanwhile.

    Args:
        name: The span's name; a decorated function's qualified name by default.
        kind: The span's kind.
        on_end: Called with the figures when a decorated call is over.
    """

    @overload
    def __new__(cls, name: _F, /) -> _F: ...  # type: ignore[misc]
    @overload
    def __new__(
        cls,
        name: str | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        on_end: Callable[[MemoryFigures], object] | None = None,
    ) -> track_memory: ...

    def __new__(
        cls,
        name: Any = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        on_end: Callable[[MemoryFigures], object] | None = None,
    ) -> Any:
        """Decorate at once when used without parentheses."""
        self = super().__new__(cls)
        self._name = name if isinstance(name, str) else None
        self._kind = kind
        self._on_end = on_end
        self._blocks = []
        if name is None or isinstance(name, str):
            return self
        return self(name)

    _name: str | None
    _kind: SpanKind
    _on_end: Callable[[MemoryFigures], object] | None
    _blocks: list[tuple[_Block, Any]]

    def __call__(self, function: _F) -> _F:
        """Decorate a function, or the function within a static or class method."""
        if isinstance(function, staticmethod | classmethod):
            return type(function)(self(function.__func__))
        if not callable(function):
            raise TypeError(f"track_memory cannot decorate {function!r}")
        # A partial, or an object that can be called, has its type's name.
        named = function if hasattr(function, "__qualname__") else type(function)
        full_name = f"{named.__module__}.{named.__qualname__}"
        open_block = functools.partial(
            _Block,
            self._name or named.__qualname__,
            self._kind,
            {CODE_FUNCTION_NAME: full_name},
        )
        decorated: _F = _decorate(function, open_block, self._on_end)
        return decorated

    def __enter__(self) -> MemoryFigures:
        """Start the span and make it current."""
        block = _Block(self._name or "track_memory", self._kind)
        manager = block.current()
        manager.__enter__()
        self._blocks.append((block, manager))
        return block.figures

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the span."""
        block, manager = self._blocks.pop()
        try:
            # Returns False, or raises the very same error again.
            manager.__exit__(kind, error, traceback)
        except BaseException as raised:
            if raised is not error:
                raise
        finally:
            block.end()
            _tell(self._on_end, block)

    async def __aenter__(self) -> MemoryFigures:
        """As __enter__."""
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As __exit__."""
        self.__exit__(kind, error, traceback)


def _tell(on_end: Callable[[MemoryFigures], object] | None, block: _Block) -> None:
    if on_end is not None:
        _guard.call("track_memory: on_end", on_end, block.figures, default=None)


def _decorate(
    function: Any,
    open_block: Callable[[], _Block],
    on_end: Callable[[MemoryFigures], object] | None,
) -> Any:
    for is_such, decorate in (
        (inspect.isasyncgenfunction, _around_async_generator),
        (inspect.iscoroutinefunction, _around_coroutine),
        (inspect.isgeneratorfunction, _around_generator),
    ):
        if is_such(function):
            return decorate(function, open_block, on_end)
    return _around_call(function, open_block, on_end)


def _around_call(function: Any, open_block: Any, on_end: Any) -> Any:
    @functools.wraps(function)
    def tracked(*args: Any, **kwargs: Any) -> Any:
        block = open_block()
        try:
            with block.current():
                return function(*args, **kwargs)
        finally:
            block.end()
            _tell(on_end, block)

    return tracked


def _around_coroutine(function: Any, open_block: Any, on_end: Any) -> Any:
    @functools.wraps(function)
    async def tracked(*args: Any, **kwargs: Any) -> Any:
        block = open_block()
        try:
            with block.current():
                return await function(*args, **kwargs)
        finally:
            block.end()
            _tell(on_end, block)

    return tracked


def _around_generator(function: Any, open_block: Any, on_end: Any) -> Any:
    @functools.wraps(function)
    def tracked(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        block = open_block()
        generator = function(*args, **kwargs)
        step, given = generator.send, None
        try:
            while True:
                try:
                    with block.current():
                        value = step(given)
                except StopIteration as stop:
                    return stop.value
                try:
                    given = yield value
                    step = generator.send
                except GeneratorExit:
                    with block.current():
                        generator.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - goes to the generator
                    step, given = generator.throw, error
        finally:
            block.end()
            _tell(on_end, block)

    return tracked


def _around_async_generator(function: Any, open_block: Any, on_end: Any) -> Any:
    @functools.wraps(function)
    async def tracked(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        block = open_block()
        generator = function(*args, **kwargs)
        step, given = generator.asend, None
        try:
            while True:
                try:
                    with block.current():
                        value = await step(given)
                except StopAsyncIteration:
                    return
                try:
                    given = yield value
                    step = generator.asend
                except GeneratorExit:
                    with block.current():
                        await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - goes to the generator
                    step, given = generator.athrow, error
        finally:
            block.end()
            _tell(on_end, block)

    return tracked
