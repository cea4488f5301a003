# SPDX-License-Identifier: Apache-2.0
"""Which line of a stack is shown as the site of an allocation, and how.

The allocating frame itself is rarely of interest: it is in `json` or in a driver.
The site is the innermost frame of the user's own code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

NATIVE_FILE = "(native)"
"""Shown for what was allocated with no Python frame on the stack."""

_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_STANDARD_LIBRARY = re.compile(r".*/lib(?:64)?/(?:python|pypy)3[.\d]*t?/")
# Scripts such as gunicorn are no package, and yet not the user's.
_LIBRARY = (
    _PACKAGES,
    _STANDARD_LIBRARY,
    re.compile(r"<frozen .*"),
    re.compile(r".*/bin/[^/.]+$"),
    re.compile(r".*/otel_memory/(?:\w+/)*\w+\.py"),
)


class Frame(NamedTuple):
    """One frame, or the site made from it."""

    file: str
    line: int | None
    function: str | None


NATIVE = Frame(NATIVE_FILE, None, None)


def is_library(file: str) -> bool:
    """Tell whether a file belongs to the standard library or to a package."""
    return any(pattern.match(file) for pattern in _LIBRARY)


def site_of(frames: Sequence[Frame]) -> Frame:
    """Choose the site of a stack, innermost frame first."""
    if not frames:
        return NATIVE
    return next((frame for frame in frames if not is_library(frame.file)), frames[0])


def short_file(file: str, directory: str) -> str:
    """Write a file relative to the working directory, or to where packages lie."""
    for pattern in (_PACKAGES, _STANDARD_LIBRARY):
        match = pattern.match(file)
        if match:
            return file[match.end() :]
    path = PurePath(file)
    if directory and path.is_relative_to(directory):
        return str(path.relative_to(directory))
    return file
