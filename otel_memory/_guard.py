# SPDX-License-Identifier: Apache-2.0
"""Keep our failures away from the application.

Every entry from outside (a callback, a wrapper's prologue and epilogue, a tick of
the watcher) goes through here. A failure is logged once per place, with its
traceback, and swallowed; under test it is raised again, so that tests do not hide
bugs. The application's own exceptions never belong inside a guard.

Three forms, for one place each::

    @guard("metrics: read RSS", default=None)
    def read(): ...

    with guard("spans: end"):
        ...

    names = call("functions: resolve", resolve, target, default=())

Only `Exception` is caught: an interrupt or an exit is the application's.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar, cast, overload

_P = ParamSpec("_P")
_R = TypeVar("_R")
_D = TypeVar("_D")

_logger = logging.getLogger("otel_memory")

_reraise = False
# Only ever added to under the GIL; a race logs a place twice, which does no harm.
_reported: set[str] = set()
_failures = 0


_LAZY_FUNCTIONS = (
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
)


def set_reraise(reraise: bool) -> None:
    """Decide whether failures leave the guard; `config` does, once, for tests."""
    global _reraise
    _reraise = reraise


def reraises() -> bool:
    """Tell whether failures leave the guard."""
    return _reraise


def report(place: str, error: Exception) -> None:
    """Log a failure of ours, the first time that this place fails.

    For `except` blocks that must do more than log. Does not re-raise.
    """
    global _failures
    _failures += 1  # No call between reading and writing: no thread comes between.
    if place in _reported:
        # Also ends the recursion when logging the failure fails in the same place.
        return
    _reported.add(place)
    with suppress(Exception):  # An application's log handler may raise.
        _logger.error(
            "otel-memory failed in %s; the application is not affected, figures may "
            "be missing. Further failures there are not logged.",
            place,
            exc_info=error,
        )


def failure_count() -> int:
    """Count the failures in this process, those that were not logged included."""
    return _failures


def forget() -> None:
    """Log again from every place, and count anew; after a fork or between tests."""
    global _failures
    _failures = 0
    _reported.clear()


os.register_at_fork(after_in_child=forget)


class guard(Generic[_D]):
    """Swallow failures of a block, or of a function that it decorates.

    Without state of its own: one instance may serve many threads, and be nested.

    Args:
        place: Names the place in the log, and once per place is logged.
        default: What a decorated function returns when it fails.
    """

    __slots__ = ("_default", "_place")

    @overload
    def __init__(self: guard[None], place: str) -> None: ...
    @overload
    def __init__(self, place: str, *, default: _D) -> None: ...
    def __init__(self, place: str, *, default: _D | None = None) -> None:
        self._place = place
        self._default = default

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        report(self._place, error)
        return not _reraise

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R | _D]:
        if any(is_lazy(function) for is_lazy in _LAZY_FUNCTIONS):
            # Calling it runs nothing yet, so nothing would be guarded.
            raise TypeError(f"guard cannot decorate {function!r}: it is not plain")

        place = self._place
        # Typed as the overloads promise: without a default, _D is None.
        default = cast("_D", self._default)

        @wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R | _D:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                report(place, error)
                if _reraise:
                    raise
                return default

        return guarded


def call(
    place: str,
    function: Callable[..., _R],
    *args: object,
    default: _D,
    **kwargs: object,
) -> _R | _D:
    """Call a function; when it fails, give `default`."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        report(place, error)
        if _reraise:
            raise
        return default
