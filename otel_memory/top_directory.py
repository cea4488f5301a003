# SPDX-License-Identifier: Apache-2.0
"""Where the sockets for `otel-memory top` are: a directory that only its owner enters.

What a process leaves behind that was killed is removed by the next one.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from contextlib import suppress

from otel_memory.config import runtime_directory

_NAME = re.compile(r"(?P<pid>[1-9][0-9]*)\.sock")


class UnfitError(Exception):
    """A directory or file is not what it must be, as the message says."""


def socket_paths(pid: int, uid: int) -> list[str]:
    """List where the socket is of a process that has the environment that we have.

    Args:
        pid: The process.
        uid: The user that it ran as when it opened the socket.
    """
    return [
        os.path.join(parent, f"otel-memory-{uid}", f"{pid}.sock")
        for parent in (runtime_directory(), _temporary_directory())
        if parent
    ]


def _temporary_directory() -> str:
    from tempfile import gettempdir  # noqa: PLC0415 - heavy, and rarely needed

    return gettempdir()


def make_directory() -> str:
    """Make our directory, or see that the one that is there is fit.

    Raises:
        UnfitError: Somebody else could enter it, or owns it.
    """
    uid = os.geteuid()
    # Without a session of its own a process may have inherited another user's.
    parent = runtime_directory()
    if parent is None or not _is_directory_of(parent, uid):
        parent = _temporary_directory()
    directory = os.path.join(parent, f"otel-memory-{uid}")
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise UnfitError(f"{directory} is no directory")
    if status.st_uid != uid:
        raise UnfitError(f"{directory} belongs to user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UnfitError(f"{directory} is open to other users; its mode must be 0700")
    return directory


def _is_directory_of(path: str, uid: int) -> bool:
    with suppress(OSError):
        status = os.stat(path)
        return stat.S_ISDIR(status.st_mode) and status.st_uid == uid
    return False


def is_answered(path: str) -> bool:
    """Tell whether a process listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0)  # A queue that is full is answered too.
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            return True
    return True


def remove_left_behind(directory: str) -> None:
    """Remove the sockets of processes that have ended without doing so."""
    with os.scandir(directory) as entries:
        found = [(entry.path, _NAME.fullmatch(entry.name)) for entry in entries]
    for path, name in found:
        # A process of another PID namespace only seems to have ended.
        with suppress(OSError):
            if name and not _exists(int(name["pid"])) and not is_answered(path):
                os.unlink(path)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
