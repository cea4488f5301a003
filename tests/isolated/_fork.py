# SPDX-License-Identifier: Apache-2.0
"""Fork while threads allocate, and see the child end well."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback

try:
    from otel_memory.heap._core import SANITIZED
except ImportError:  # The wheel under test is the one without the extension.
    SANITIZED = False

# Unlike the C library's the sanitizer's allocator does not survive a fork in the
# middle of another thread's malloc: there all threads wait while a child is made.
gate = threading.RLock() if SANITIZED else contextlib.nullcontext()


def fork_and_wait(work, *arguments):
    """Do some work in a child of its own, which must not fail; give its id."""
    with gate:
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work(*arguments)
            code = 0
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a child ended with {status}: {work.__name__}{arguments}"
    return child
