# SPDX-License-Identifier: Apache-2.0
"""A request that appends to an import-time list bears what is added, not the list."""

from __future__ import annotations

import pathlib
import sys
import tempfile

from _tools import MIB, assert_close, core_pairs, say, start

from otel_memory.heap import _core

POINTERS = 10_000_000


def live_in_import():
    """The row is there once a sample is."""
    row = core_pairs().get(("import", "(import)"))
    return row.live if row else 0


registry_before_us = [None] * POINTERS
tracer = start()
imported_by_us = live_in_import()
# So fine that no small thing that is sampled by chance weighs much beside a list.
_core.set_sampling(True, rate_bytes=16 * 1024)


def append_until_it_grows(values):
    size = sys.getsizeof(values)
    while sys.getsizeof(values) == size:
        values.append(None)
    return sys.getsizeof(values) - size


with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "registry_module.py").write_text(
        f"REGISTRY = [None] * {POINTERS}\n", encoding="ascii"
    )
    sys.path.insert(0, folder)
    import registry_module

for name, values in (
    ("imported", registry_module.REGISTRY),
    ("older than we", registry_before_us),
):
    with tracer.start_as_current_span(name):
        added = append_until_it_grows(values)
    row = core_pairs()[("span", name)]
    say(name, added, row)
    assert added > 8 * MIB
    assert_close(row.live, added, share=0.02, slack=MIB // 4)
assert_close(live_in_import() - imported_by_us, POINTERS * 8, share=0.05)

registry_module.REGISTRY.clear()
registry_before_us.clear()
rows = core_pairs()
assert rows[("span", "imported")].live < MIB
assert rows[("span", "older than we")].live < MIB
assert live_in_import() - imported_by_us < 4 * MIB
