# SPDX-License-Identifier: Apache-2.0
"""How the public names are used, as type checkers see it: checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from opentelemetry.trace import SpanKind

from otel_memory import (
    Assessment,
    MemoryAlert,
    MemoryConfig,
    MemoryFigures,
    MemoryInstrumentor,
    Suspect,
    assess,
    suspects,
    track_memory,
    write_heap_profile,
)


def on_alert(alert: MemoryAlert) -> None:
    first: Suspect | None = alert.suspects[0] if alert.suspects else None
    print(alert.kind, alert.message, alert.value, first)


def alerts() -> None:
    MemoryInstrumentor().instrument(alert_handlers=(on_alert, "shop.ops:on_alert"))
    recent: tuple[MemoryAlert, ...] = MemoryInstrumentor().recent_alerts()
    MemoryConfig(alert_handlers=(on_alert, "shop.ops:on_alert"), warning="2GiB")
    print(recent)


def configure() -> None:
    MemoryInstrumentor().instrument()
    MemoryInstrumentor().instrument(interval_seconds=5.0, functions=("shop.cache:*",))
    MemoryInstrumentor().uninstrument()
    config = MemoryConfig(limit_bytes=512 * 1024**2, span_kinds=("SERVER",))
    limit_bytes: int | None = config.limit_bytes
    print(limit_bytes)


@track_memory
def plain(count: int, *, name: str = "") -> list[str]:
    return [name] * count


@track_memory("load", kind=SpanKind.CLIENT)
async def coroutine(key: str) -> bytes:
    return key.encode()


def keep(figures: MemoryFigures) -> None:
    print(figures)


@track_memory(on_end=keep)
def generator() -> Iterator[int]:
    yield 1


@track_memory()
async def async_generator() -> AsyncIterator[int]:
    yield 1


class Cache:
    @track_memory
    def method(self, key: str) -> int:
        return len(key)

    @staticmethod
    @track_memory
    def static(key: str) -> int:
        return len(key)

    @classmethod
    @track_memory("class")
    def of_class(cls, key: str) -> int:
        return len(key)


def blocks() -> int | None:
    with track_memory("a block") as figures:
        numbers: list[str] = plain(3, name="a")
    print(numbers)
    kept: MemoryFigures = figures
    exclusive: bool | None = kept.rss_exclusive
    print(exclusive)
    return kept.delta_bytes


async def async_blocks() -> None:
    async with track_memory("a block", kind=SpanKind.INTERNAL) as figures:
        body: bytes = await coroutine("key")
        async for number in async_generator():
            print(number, body)
    allocated: int | None = figures.allocated_bytes
    print(allocated)


def at_a_moment() -> Path:
    write_heap_profile("profile.jsonl")
    write_heap_profile(Path("profile.jsonl"))
    path: Path = write_heap_profile()
    return path


def judged() -> str:
    assessment: Assessment = assess([0.0, 60.0], [1, 2], completed=[0, 9])
    rate: float | None = assessment.growth_bytes_per_hour
    found: list[Suspect] = suspects({("s", "e"): [(0.0, 1)]}, {("s", "e"): [9]})
    print(rate, found)
    return assessment.state


def decorated_signatures_stay() -> None:
    first: Callable[[str], int] = Cache().method
    second: Callable[[str], int] = Cache.static
    third: Callable[[str], int] = Cache.of_class
    print(first, second, third, [*generator()])
