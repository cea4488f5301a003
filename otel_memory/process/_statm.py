# SPDX-License-Identifier: Apache-2.0
"""Resident memory, so cheaply that spans can ask for it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from otel_memory.process._figures import Resident


class _OpenFile:
    """A file descriptor that closes itself with its last user.

    So a thread that still reads while another one reopens cannot read from a
    descriptor that has come to mean another file, and no lock is needed (one held
    by another thread at a fork would stay locked in the child).
    """

    __slots__ = ("_status", "fd", "pid")

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._status = os.fstat(self.fd)

    def __del__(self) -> None:
        # Daemons close every descriptor they find, and the number may by now belong
        # to a file of the application. AttributeError: it was never opened.
        with suppress(AttributeError, OSError):
            if os.path.samestat(os.fstat(self.fd), self._status):
                os.close(self.fd)


class StatmReader:
    """Reads `/proc/self/statm` through a descriptor that stays open.

    May be called on any thread. Opens the file again after a fork, where the
    inherited descriptor still tells about the parent, and when somebody closed it.
    """

    def __init__(self, root: str = "/") -> None:
        self._path = Path(root, "proc/self/statm")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._file: _OpenFile | None = None

    def read(self) -> Resident | None:
        """Read resident and anonymous memory together."""
        file = self._file
        if file is not None and file.pid == os.getpid():
            resident = self._parse(file)
            if resident is not None:
                return resident
        # Close first: the new descriptor may get the old one's number, and would then
        # be closed in its place.
        file = self._file = None
        with suppress(OSError):
            self._file = file = _OpenFile(self._path)
            return self._parse(file)
        return None

    def _parse(self, file: _OpenFile) -> Resident | None:
        # Runs at every span's start and end: plain code, no context manager.
        try:
            _, resident, shared, _, _, _, _ = os.pread(file.fd, 256, 0).split()
            rss_bytes = int(resident) * self._page_bytes
            anonymous_bytes = rss_bytes - int(shared) * self._page_bytes
        except (OSError, ValueError):  # Unpacking what is cut short: ValueError.
            return None
        # The kernel reads its counters one by one: shared may be ahead.
        return Resident(rss_bytes, anonymous_bytes if anonymous_bytes > 0 else 0)
