# SPDX-License-Identifier: Apache-2.0
"""In a sub-interpreter we are off, silent and harmless, with a GIL of its own too."""

from __future__ import annotations

import faulthandler
import sys
import threading
import time

from _tools import DELTA, MIB, assert_close, attributes_of, say, start, telemetry

if sys.version_info >= (3, 13):
    import _interpreters

    KINDS = {"legacy": ("legacy",), "isolated": ("isolated",)}

    def create(kind):
        return _interpreters.create(*KINDS[kind])

    def run(interpreter, code):
        failure = _interpreters.exec(interpreter, code)
        assert failure is None, failure

    destroy = _interpreters.destroy
else:
    import _xxsubinterpreters

    def create(kind):
        return _xxsubinterpreters.create(isolated=kind == "isolated")

    def run(interpreter, code):
        failure = _xxsubinterpreters.run_string(interpreter, code)
        assert failure is None, failure

    destroy = _xxsubinterpreters.destroy

faulthandler.dump_traceback_later(270, exit=True)

# As the environment's sitecustomize does it. Where the GIL is the interpreter's own,
# or threads are forbidden, the SDK or another dependency may be what refuses.
INSTRUMENT = """
import sys
sys.path[:] = {path!r}
from otel_memory import heap
source = heap.open_source()
assert source.name == "off", source.name
assert "interpreter" in source.reason, source.reason
try:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from otel_memory import MemoryInstrumentor
    trace.set_tracer_provider(TracerProvider())
except (ImportError, RuntimeError) as error:
    assert {isolated}, error
else:
    MemoryInstrumentor().instrument()
    with trace.get_tracer("sub").start_as_current_span("x") as span:
        kept = bytearray(3_000_000)
    assert "otel_memory.heap.delta" not in span.attributes, dict(span.attributes)
    assert "otel_memory.rss.delta" in span.attributes, dict(span.attributes)
"""
ALLOCATE = """
from contextvars import ContextVar, copy_context
variable = ContextVar("variable")
kept = []
for number in range({rounds}):
    copy_context().run(variable.set, [number] * 50)
    kept.append([bytes(100), bytearray(1000), dict.fromkeys(range(20))])
    if number % 100 == 0:
        del kept[:50]
"""

tracer = start()
path = list(sys.path)
kept = []


def use(kind, rounds):
    interpreter = create(kind)
    run(interpreter, INSTRUMENT.format(path=path, isolated=kind == "isolated"))
    run(interpreter, ALLOCATE.format(rounds=rounds))
    destroy(interpreter)


def in_one_thread(kind):
    name = f"around {kind}"
    with tracer.start_as_current_span(name):
        kept.append(bytearray(4 * MIB))
        use(kind, 5_000)
        kept.append(bytearray(3 * MIB))
    found = attributes_of(name)
    say(name, found)
    assert_close(found[DELTA], 7 * MIB, slack=MIB)


def beside(kind):
    threads = [threading.Thread(target=use, args=(kind, 20_000)) for _ in range(2)]
    for thread in threads:
        thread.start()
    number = 0
    while any(thread.is_alive() for thread in threads):
        number += 1
        # CPython asks only its own interpreter's threads to let go of a shared GIL.
        time.sleep(0.0001)
        telemetry.exporter.clear()
        with tracer.start_as_current_span("beside"):
            mine = [bytearray(200_000) for _ in range(20)]
        assert_close(
            attributes_of("beside")[DELTA], 20 * 200_000, slack=20 * 4200 + 2048
        )
        del mine
    say("beside", kind, number)
    for thread in threads:
        thread.join()


for kind in ("legacy", "isolated"):
    in_one_thread(kind)
    beside(kind)
