# SPDX-License-Identifier: Apache-2.0
"""Ask a process on the socket that it opens for `otel-memory top`."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from otel_memory.config import OTEL_PYTHON_MEMORY_TOP
from otel_memory.errors import CommandError

_ANSWER_BYTES_MAX = 64 * 1024**2
_CHUNK_BYTES = 1 << 16
_SOCKETS = "/proc/net/unix"
_SOCKET_PATH_FIELD = 7


def ask(pid: int, uids: Iterable[int], timeout_seconds: float) -> bytes:
    """Ask a process for its figures.

    Args:
        pid: The process.
        uids: The users that it may have been when it opened the socket.
        timeout_seconds: For the whole answer.

    Returns:
        Its answer, or a part of it where the connection broke.

    Raises:
        CommandError: It does not answer, or opens no socket.
    """
    # Not above: it brings the API.
    from otel_memory.top_socket import is_trusted_unseen, read_peer  # noqa: PLC0415

    for path in _paths(pid, uids):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_seconds)
            try:
                connection.connect(path)
            except TimeoutError:
                raise _silence(pid) from None
            except OSError:
                continue
            # Whoever can write there may have put a socket of his own.
            peer = read_peer(connection)
            if peer is None and not is_trusted_unseen():
                raise CommandError(
                    f"the kernel does not tell whether it is process {pid} that "
                    f"answers at {path}; ask as its user, not as root"
                )
            if peer is None or peer[0] == pid:
                return _read(connection, pid, timeout_seconds)
    raise CommandError(
        f"process {pid} opens no socket for top; start it under "
        f"opentelemetry-instrument with {OTEL_PYTHON_MEMORY_TOP}=true, or name its "
        "recording instead"
    )


def _read(connection: socket.socket, pid: int, timeout_seconds: float) -> bytes:
    answer = bytearray()
    deadline_seconds = time.monotonic() + timeout_seconds
    with suppress(ConnectionError):
        while len(answer) <= _ANSWER_BYTES_MAX:
            left_seconds = deadline_seconds - time.monotonic()
            connection.settimeout(max(left_seconds, 0.001))
            try:
                chunk = connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise _silence(pid) from None
            if not chunk:
                break
            answer += chunk
    return bytes(answer)


def _silence(pid: int) -> CommandError:
    return CommandError(f"process {pid} does not answer; is it stopped?")


def _paths(pid: int, uids: Iterable[int]) -> Iterator[str]:
    from otel_memory.top_directory import socket_paths  # noqa: PLC0415

    for uid in dict.fromkeys([*uids, os.geteuid()]):
        paths = socket_paths(pid, uid)
        yield from paths
        # Where its environment is another one than ours, the kernel knows.
        name = os.path.join(*Path(paths[0]).parts[-2:])
        yield from (path for path in _bound_paths(name) if path not in paths)


def _bound_paths(name: str) -> list[str]:
    """List the Unix sockets of this machine whose path ends in a name."""
    with suppress(OSError), open(_SOCKETS, errors="surrogateescape") as sockets:
        fields = [line.rstrip("\n").split(None, _SOCKET_PATH_FIELD) for line in sockets]
        paths = [found[-1] for found in fields if len(found) > _SOCKET_PATH_FIELD]
        return sorted({path for path in paths if path.endswith(f"/{name}")})
    return []
