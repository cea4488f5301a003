# SPDX-License-Identifier: Apache-2.0
"""Memory of Python services by span: OpenTelemetry instrumentation.

The public names, nothing else; nothing happens at import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_memory.alerts import MemoryAlert
    from otel_memory.config import MemoryConfig
    from otel_memory.figures import MemoryFigures
    from otel_memory.functions import track_memory
    from otel_memory.instrumentor import MemoryInstrumentor
    from otel_memory.leaks import Assessment, Suspect, assess, suspects
    from otel_memory.snapshot import write_heap_profile

__all__ = [
    "Assessment",
    "MemoryAlert",
    "MemoryConfig",
    "MemoryFigures",
    "MemoryInstrumentor",
    "Suspect",
    "assess",
    "suspects",
    "track_memory",
    "write_heap_profile",
]

_HOMES = {
    "Assessment": "otel_memory.leaks",
    "MemoryAlert": "otel_memory.alerts",
    "MemoryConfig": "otel_memory.config",
    "MemoryFigures": "otel_memory.figures",
    "MemoryInstrumentor": "otel_memory.instrumentor",
    "Suspect": "otel_memory.leaks",
    "assess": "otel_memory.leaks",
    "suspects": "otel_memory.leaks",
    "track_memory": "otel_memory.functions",
    "write_heap_profile": "otel_memory.snapshot",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: the CLI needs no SDK."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("otel-memory")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
