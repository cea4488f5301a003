# SPDX-License-Identifier: Apache-2.0
"""A lazy import in the first request is born in `(import)`, not in the request."""

from __future__ import annotations

import pathlib
import sys
import tempfile

from _tools import DELTA, MIB, assert_close, attributes_of, core_pairs, say, start

from otel_memory.heap import _core

SOURCE = """
TABLE = [bytes([i]) * (1024 * 1024) for i in range(20)]
def answer():
    return bytearray(6 * 1024 * 1024)
"""

with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "heavy_module.py").write_text(SOURCE, encoding="ascii")
    sys.path.insert(0, folder)
    tracer = start()
    _core.set_sampling(True, rate_bytes=64 * 1024)  # enough samples to tell
    with tracer.start_as_current_span("GET /"):
        import heavy_module

        kept = heavy_module.answer()  # the module's code, but no import any more
rows = core_pairs()
imported, request = rows[("import", "(import)")], rows[("span", "GET /")]
say(imported, request)
assert_close(imported.live, 20 * MIB, share=0.3)
assert_close(request.live, 6 * MIB, share=0.1)
# The delta says what the heap gained meanwhile, the import included.
assert_close(attributes_of("GET /")[DELTA], 26 * MIB, slack=MIB)
