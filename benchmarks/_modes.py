# SPDX-License-Identifier: Apache-2.0
"""The profilers that `profilers.py` compares, as code of the measured processes."""

from __future__ import annotations

from typing import NamedTuple


class Mode(NamedTuple):
    """One way to run the workloads.

    Attributes:
        setup: Code that comes before the workload.
        evidence: Code that comes after it, and sets `evidence`: how much the profiler
            holds. None where there is no profiler.
        baseline: The mode with the same imports.
        package: What must be importable.
        is_slow: So much slower than all others that a few rounds tell.
    """

    setup: str
    evidence: str | None = None
    baseline: str = "none"
    package: str = "sys"
    is_slow: bool = False


OUR_IMPORT = """
    from otel_memory.heap import open_source
"""
# The whole of it, as a service has it: every allocation falls into a span.
SPAN = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from otel_memory import MemoryInstrumentor
    trace.set_tracer_provider(TracerProvider())
"""
OPEN_SPAN = """
    manager = trace.get_tracer("benchmark").start_as_current_span("measured")
    span = manager.__enter__()
"""
DDTRACE_IMPORT = """
    from ddtrace.profiling.collector import memalloc
"""
MODES = {
    "none": Mode(""),
    "none, again": Mode(""),
    "otel-memory imported": Mode(OUR_IMPORT, package="otel_memory"),
    "  counting": Mode(
        OUR_IMPORT + "    source = open_source('native', sampling=False)\n",
        "    evidence = sum(pair.allocated_bytes for pair in source.pairs())",
        baseline="otel-memory imported",
        package="otel_memory",
    ),
    "  counting + sampling": Mode(
        OUR_IMPORT + "    source = open_source('native', sampling=True)\n",
        "    evidence = source.health().live_samples",
        baseline="otel-memory imported",
        package="otel_memory",
    ),
    "SDK, in a span": Mode(SPAN + OPEN_SPAN, package="otel_memory"),
    "  otel-memory, all of it": Mode(
        SPAN + "    MemoryInstrumentor().instrument()\n" + OPEN_SPAN,
        """
    manager.__exit__(None, None, None)
    from otel_memory.heap import _core
    assert any(name.startswith("otel_memory.heap.") for name in span.attributes)
    evidence = _core.health()["live_samples"]
        """,
        baseline="SDK, in a span",
        package="otel_memory",
    ),
    "ddtrace imported": Mode(DDTRACE_IMPORT, package="ddtrace"),
    "  ddtrace memory": Mode(
        DDTRACE_IMPORT
        + """
    collector = memalloc.MemoryCollector()
    collector.start()
        """,
        # The profile itself is compressed in a way that not every Python reads.
        """
    import json, pathlib, tempfile
    from ddtrace.internal.datadog.profiling import ddup
    with tempfile.TemporaryDirectory() as folder:
        ddup.config(service="benchmark", output_filename=folder + "/profile")
        ddup.start()
        collector.snapshot()
        ddup.upload()
        (told,) = pathlib.Path(folder).glob("*.json")
        evidence = json.loads(told.read_text())["heap_tracker_count"]
        """,
        baseline="ddtrace imported",
        package="ddtrace",
    ),
    "Pyroscope imported": Mode("    import pyroscope", package="pyroscope"),
    "  Pyroscope memory": Mode(
        """
    import pyroscope
    assert pyroscope.configure(
        application_name="benchmark", server_address={server!r},
        mem_enabled=True, cpu_enabled=False)
        """,
        # It tells nobody but its server, which is this script.
        """
    assert pyroscope.shutdown()
    evidence = -1
        """,
        baseline="Pyroscope imported",
        package="pyroscope",
    ),
    "tracemalloc": Mode(
        """
    import tracemalloc
    tracemalloc.start()
        """,
        "    evidence = tracemalloc.get_traced_memory()[0]",
        is_slow=True,
    ),
}
