# SPDX-License-Identifier: Apache-2.0
"""The memory figures of one span, for the code that asked for it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_memory.heap._core import Record

RECORD_ATTRIBUTE = "_otel_memory_record"
"""Where the core puts a span's account: on the span, so that both go together."""


class Account:
    """Where a block's figures are kept: in its span's record, or in an own one."""

    def __init__(self, record: Record | None, core: Any = None) -> None:
        self.record = record
        self._core = core  # only where the record is not a span's

    def enter(self) -> Any:
        """Charge this thread's context to an own record."""
        if self._core is None:
            return None
        return self._core.context_variable().set(self.record)

    def leave(self, token: Any) -> None:
        """Charge what was charged before."""
        if token is None:
            return
        # ValueError: another context, closed by the event loop; nothing to take back.
        with suppress(ValueError):
            token.var.reset(token)

    def finish(self) -> None:
        """End an own record; a span's ends with the span."""
        if self._core is not None:
            self._core.finish(self.record)


def open_account(span: Any, name: str, kind: int) -> Account:
    """Find the record of a span, or make one where there is no SDK to make spans."""
    record = getattr(span, RECORD_ATTRIBUTE, None)
    if record is not None:
        return Account(record)
    try:
        from otel_memory.heap import _core  # noqa: PLC0415 - may be missing

        return Account(_core.begin(name, kind), _core)
    except (ImportError, RuntimeError):
        return Account(None)


class MemoryFigures:
    """The memory figures of one span: while it runs so far, then for good.

    All are None where they are not measured: without the counting core, or before
    `MemoryInstrumentor().instrument()`.
    """

    __slots__ = ("_account",)

    def __init__(self, account: Account) -> None:
        self._account = account

    def _read(self, name: str) -> Any:
        record = self._account.record
        return None if record is None else getattr(record, name)

    @property
    def allocated_bytes(self) -> int | None:
        """Bytes handed out, with child spans that have ended."""
        return self._read("allocated_bytes")  # type: ignore[no-any-return]

    @property
    def self_allocated_bytes(self) -> int | None:
        """Bytes handed out, without child spans."""
        return self._read("self_allocated_bytes")  # type: ignore[no-any-return]

    @property
    def delta_bytes(self) -> int | None:
        """Bytes handed out minus bytes given back. Does not add up to retention."""
        return self._read("delta_bytes")  # type: ignore[no-any-return]

    @property
    def peak_bytes(self) -> int | None:
        """The highest delta so far."""
        return self._read("peak_bytes")  # type: ignore[no-any-return]

    @property
    def rss_delta_bytes(self) -> int | None:
        """Growth of the whole process's RSS; None while the span is open."""
        return self._read("rss_delta_bytes")  # type: ignore[no-any-return]

    @property
    def rss_exclusive(self) -> bool | None:
        """Whether no other entry span overlapped; None while the span is open."""
        return self._read("rss_exclusive")  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        """Show the figures."""
        return (
            f"MemoryFigures(allocated_bytes={self.allocated_bytes}, "
            f"delta_bytes={self.delta_bytes}, peak_bytes={self.peak_bytes})"
        )
