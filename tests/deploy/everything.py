# SPDX-License-Identifier: Apache-2.0
"""A process that emits all there is, whatever the machine; started by a test.

What few machines have (swap, limits, kills) is read from the files that were recorded
for the tests of the metrics, and the verdict is given. It says so, and waits for its
end.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "isolated"))

from _metrics import drain, know_everything
from opentelemetry import trace
from opentelemetry.trace import SpanKind

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tracer = trace.get_tracer("everything")
    with tracer.start_as_current_span("GET /spike", kind=SpanKind.SERVER):
        block = bytearray(8 << 20)
    drain()
    know_everything()
    sys.stdout.write("it knows everything\n")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        del block
