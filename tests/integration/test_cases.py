# SPDX-License-Identifier: Apache-2.0
"""Run the scripts `isolated/case_*.py`, each in a process of its own.

Allocator hooks are the process's, and stay: what measures needs a fresh one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig

import pytest

from .isolated_support import ISOLATED, TIMEOUT_SECONDS, UNTRACED, marks_of

pytestmark = pytest.mark.extension

# Where a script is run more than once: (arguments, environment, options of Python).
ALLOCATORS = {
    "default": ("native", {}, ()),
    "malloc": ("native", {"PYTHONMALLOC": "malloc"}, ()),
    "pymalloc": ("native", {"PYTHONMALLOC": "pymalloc"}, ()),
    "debug": ("off", {"PYTHONMALLOC": "debug"}, ()),
    "malloc_debug": ("off", {"PYTHONMALLOC": "malloc_debug"}, ()),
    "dev mode": ("off", {}, ("-X", "dev")),
}
VARIANTS = {
    "case_empty_children": {
        name: ((name,), {}, ()) for name in ("none", "simple", "batch")
    },
    "case_multiprocessing": {
        name: ((name,), {}, ()) for name in ("fork", "forkserver", "spawn")
    },
    "case_tracemalloc_stopped": {
        name: ((name,), {}, ())
        for name in ("seen by the watcher", "seen by a span", "open meanwhile")
    },
    "case_block_sizes": {
        # Counts to the byte, so the watcher must not tick meanwhile.
        name: ((), {"OTEL_PYTHON_MEMORY_INTERVAL": "3600", **environment}, ())
        for name, environment in (("pools", {}), ("libc", {"PYTHONMALLOC": "malloc"}))
    },
    "case_allocators": {
        name: ((expected,), environment, options)
        for name, (expected, environment, options) in ALLOCATORS.items()
    },
}
NEED_NATIVE_THREAD = {"case_fork", "case_native_thread_callbacks", "case_thread_exit"}
# The warning that heap figures are off is what these are about.
MAY_WARN = {"case_allocators"}


def runs():
    for script in sorted(ISOLATED.glob("case_*.py")):
        for name, variant in VARIANTS.get(script.stem, {"": ((), {}, ())}).items():
            label = script.stem.removeprefix("case_") + (f"[{name}]" if name else "")
            yield pytest.param(script, *variant, id=label, marks=marks_of(script.stem))


@pytest.fixture(scope="session")
def native_thread(tmp_path_factory):
    """The directory of the module `native_thread`, compiled for this Python."""
    folder = tmp_path_factory.mktemp("native_thread")
    built = folder / f"native_thread{sysconfig.get_config_var('EXT_SUFFIX')}"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))
    subprocess.run(
        [
            *compiler,
            *("-shared", "-fPIC", "-O1", "-pthread"),
            f"-I{sysconfig.get_path('include')}",
            str(ISOLATED / "native_thread" / "native_thread.c"),
            *("-o", str(built)),
        ],
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    return folder


@pytest.mark.parametrize(("script", "arguments", "environment", "options"), [*runs()])
def test_what_the_script_says_is_true(script, arguments, environment, options, request):
    if script.stem in NEED_NATIVE_THREAD:
        arguments = (str(request.getfixturevalue("native_thread")), *arguments)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", *options, str(script), *arguments],
        env={**os.environ, **UNTRACED, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    said = f"\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{script.name} ended with {done.returncode}:{said}"
    if script.stem not in MAY_WARN:
        assert done.stderr == "", f"{script.name} wrote to stderr:{said}"
