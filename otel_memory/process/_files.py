# SPDX-License-Identifier: Apache-2.0
"""Read the kernel's small text files: whole, or not at all."""

from __future__ import annotations

import os

# What is asked for counts as allocated, in whoever's span the figures are collected;
# few of these files are longer.
_CHUNK_BYTES = 4096
# More than any counter of the kernel has: int() raises for thousands of digits.
_DIGITS_MAX = 20


def read(path: str) -> str | None:
    """Read a file.

    All these files end with a newline: without it the end is missing, and with the
    end perhaps the last digits of a number.

    Args:
        path: The file.

    Returns:
        `None` where there is nothing to read, and the empty text for what is cut
        short, so that who asks can tell "does not exist" from "cannot be known".
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    content = b""
    try:
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            content += chunk
    except OSError:  # Not supported, or the cgroup has vanished.
        return None
    finally:
        os.close(descriptor)
    return os.fsdecode(content) if content.endswith(b"\n") else ""


def number(text: str) -> int | None:
    """Read a number that is not negative."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
    return int(text) if is_number else None
