# SPDX-License-Identifier: Apache-2.0
"""Choose the heap source. The only importer of the compiled extension's room."""

from __future__ import annotations

import sys
from pathlib import Path

from otel_memory import semconv
from otel_memory.heap._off import OffSource
from otel_memory.heap._rows import HeapSource

NO_EXTENSION = (
    "the compiled extension is not installed; install otel-memory where a C compiler "
    "is, or from a wheel for this platform"
)

SOURCE_TREE = (
    "otel_memory was imported from its source tree {}, which has no compiled extension "
    "and hides the package that is installed; start in another directory"
)


def _why_missing() -> str:
    """Tell a source tree, which hides what is installed, from an installation."""
    package = Path(__file__).parents[1]
    if (package / "heap" / "core").is_dir():
        return SOURCE_TREE.format(package.parent)
    return NO_EXTENSION


def _open_native(sampling: bool) -> HeapSource:
    if sys.implementation.name != "cpython":
        return OffSource(f"only CPython is counted, not {sys.implementation.name}")
    try:
        from otel_memory.heap import _native  # noqa: PLC0415 - may be missing
    except ImportError as error:
        missing = (error.name or "").endswith("_core") or "_core" in str(error)
        return OffSource(_why_missing() if missing else str(error))
    reason = _native.install()
    return OffSource(reason) if reason else _native.NativeSource(sampling=sampling)


def _open_tracemalloc(sampling: bool) -> HeapSource:
    from otel_memory.heap import _traced  # noqa: PLC0415 - slow, and rarely wanted

    return _traced.TracemallocSource()


def _open_off(sampling: bool) -> HeapSource:
    return OffSource()


_OPENERS = {
    semconv.SOURCE_NATIVE: _open_native,
    semconv.SOURCE_TRACEMALLOC: _open_tracemalloc,
    semconv.SOURCE_OFF: _open_off,
}


def open_source(
    name: str = semconv.SOURCE_NATIVE, *, sampling: bool = True
) -> HeapSource:
    """Open a heap source.

    Args:
        name: `native`, `tracemalloc` or `off`.
        sampling: Whether the live-heap sampler runs, with `native`.

    Returns:
        The source; where `native` cannot be right, one that is `off` and says why.

    Raises:
        ValueError: There is no such source.
    """
    if name not in _OPENERS:
        raise ValueError(f"heap={name!r} is not one of {', '.join(_OPENERS)}")
    return _OPENERS[name](sampling)
