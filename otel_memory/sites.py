# SPDX-License-Identifier: Apache-2.0
"""Which line of a stack is shown as the site of an allocation, and whose it is.

The allocating frame itself is rarely of interest: it is in `json` or in a driver.
The site is the innermost frame of the user's own code. The package, though, is the
one that the allocating frame belongs to. Both are told by the files' names alone,
so that they can be told of another machine's files.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import NamedTuple

from otel_memory.units import format_bytes

NATIVE_FILE = "(native)"
"""Shown for what was allocated with no Python frame on the stack."""
NATIVE_PACKAGE = NATIVE_FILE
OWN_CODE = "(own code)"
"""Shown in place of a package for what the user's own code allocated."""

# The last such directory counts: a virtual environment may lie below another one's.
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_EGG = re.compile(r"[^/]+\.egg/")
# With a minor version: /app/lib/python3/ is nobody's standard library.
_STANDARD_LIBRARY = re.compile(r".*/lib(?:64)?/(?:python|pypy)3\.\d+t?/")
_FROZEN = re.compile(r"<frozen ([\w.]+)>")
# Scripts such as gunicorn are no package, and yet not the user's.
_SCRIPT = re.compile(r".*/bin/([^/.]+)$")
_OURS = re.compile(r".*/(otel_memory)/(?:\w+/)*\w+\.py$")
_IMPORT_SYSTEM = re.compile(
    r"<frozen (?:importlib[\w.]*|zipimport)>"
    r"|.*/importlib/(?:__init__|_bootstrap|_bootstrap_external|_abc)\.py"
    r"|.*/__editable__\w*_finder\.py"
)
# Generated code has no file. What was typed in or given with -c has neither, but
# lies at the bottom of its stack.
_NO_FILE = re.compile(r"<.*>|\?")
_TYPED_IN = re.compile(r"<(?:stdin|console|(?:i?python-)?input.*)>")

# What Python itself does not list, and what versions since 3.10 have dropped.
_UNLISTED = """
    test sitecustomize usercustomize aifc asynchat asyncore audioop binhex cgi cgitb
    chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis nntplib ossaudiodev
    pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib
"""
_STANDARD_ELSEWHERE = frozenset(_UNLISTED.split())


class Frame(NamedTuple):
    """One frame, or the site made from it."""

    file: str
    line: int | None
    function: str | None


NATIVE = Frame(NATIVE_FILE, None, None)


class _Owner(NamedTuple):
    """Whose a file is.

    Attributes:
        package: The top-level package or module; "" for the user's own code.
        directory: Where packages lie, with the slash; "" for other files.
    """

    package: str
    directory: str


@lru_cache(maxsize=1024)
def _owner_of(file: str) -> _Owner:
    packages = _PACKAGES.match(file)
    if packages:
        directory = packages[0]
        egg = _EGG.match(file, packages.end())
        return _Owner(_top_level(file[(egg or packages).end() :]), directory)
    library = _STANDARD_LIBRARY.match(file)
    if library:
        name = _top_level(file[library.end() :])
        # The directory alone proves nothing: it may be the user's.
        if _is_standard(name):
            return _Owner(name, library[0])
    named = _FROZEN.match(file) or _SCRIPT.match(file) or _OURS.match(file)
    return _Owner(_top_level(named[1].replace(".", "/")) if named else "", "")


def _is_standard(name: str) -> bool:
    is_known = name in sys.stdlib_module_names or name in _STANDARD_ELSEWHERE
    # Those with an underscore are not all listed, and come and go.
    return is_known or name.startswith("_")


def _top_level(path: str) -> str:
    """Name the package of a path below a directory of packages."""
    return path.partition("/")[0].partition(".")[0]


def is_library(file: str) -> bool:
    """Tell whether a file belongs to the standard library or to a package."""
    return _owner_of(file).package != ""


def site_of(frames: Sequence[Frame]) -> Frame:
    """Choose the site of a stack, innermost frame first.

    The innermost of the user's own code; without any, the innermost that is not the
    import system's, which says nothing.
    """
    if not frames:
        return NATIVE
    telling = [f for f in frames if not _IMPORT_SYSTEM.fullmatch(f.file)]
    own = (frame for frame in telling if not is_library(frame.file))
    return next(own, (telling or frames)[0])


def package_of(frames: Sequence[Frame]) -> str:
    """Name the top-level package that allocated, innermost frame first.

    The import system is passed over, for it allocates on behalf of whoever imports,
    and so is generated code, which belongs to whoever calls it.

    Returns:
        The package, `OWN_CODE`, or `NATIVE_PACKAGE` where there is no frame.
    """
    if not frames:
        return NATIVE_PACKAGE
    for frame in frames:
        if _TYPED_IN.fullmatch(frame.file):
            return OWN_CODE
        if _IMPORT_SYSTEM.fullmatch(frame.file):
            continue
        package = _owner_of(frame.file).package
        if package or not _NO_FILE.fullmatch(frame.file):
            return package or OWN_CODE
    is_import = all(_IMPORT_SYSTEM.fullmatch(frame.file) for frame in frames)
    return "importlib" if is_import else OWN_CODE


def short_file(file: str, directory: str) -> str:
    """Write a file relative to the working directory, or to where packages lie."""
    packages = _owner_of(file).directory
    if packages:
        return file[len(packages) :]
    path = PurePath(file)
    if directory and path.is_relative_to(directory):
        return str(path.relative_to(directory))
    return file


def largest_sites(
    stacks: Iterable[tuple[Sequence[tuple[str, int, str]], int]],
) -> list[tuple[Frame, int]]:
    """Sum the bytes of stacks, innermost frame first, by site; the largest first."""
    size_bytes: dict[Frame, int] = defaultdict(int)
    for frames, stack_bytes in stacks:
        size_bytes[site_of([Frame(*frame) for frame in frames])] += stack_bytes
    return sorted(size_bytes.items(), key=lambda item: -item[1])


def place_of(site: Frame, directory: str) -> str:
    """Write where a site is, as `shop/cache.py:41`."""
    file = short_file(site.file, directory)
    return file if site.line is None else f"{file}:{site.line}"


def describe_site(site: Frame, size_bytes: int, directory: str) -> str:
    """Write a site with its bytes, as `shop/cache.py:41 get_product_list 118.9 MiB`."""
    parts = (place_of(site, directory), site.function, format_bytes(size_bytes))
    return " ".join(filter(None, parts))


def working_directory() -> str:
    """Name the directory that files are told relative to; "" where it is gone."""
    try:
        return os.getcwd()
    except OSError:  # it was removed: files are told in full
        return ""
