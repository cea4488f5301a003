# SPDX-License-Identifier: Apache-2.0
"""The socket on which a process answers `otel-memory top PID`.

A Unix socket in a directory that only its owner can enter: no port, nothing that
another user or machine can reach. Whoever connects gets one heap profile, the lines
that `write_heap_profile` writes, and is hung up on; nothing is ever read from them.
Until somebody connects a daemon thread waits in the kernel and costs nothing. Clients
are served one after the other, at most one per `PAUSE_SECONDS`, and who does not read
is cut off after `SEND_SECONDS`.

A forked child closes what it inherits and opens a socket of its own; a greenlet that
it inherits does nothing there. What a process leaves behind that was killed is removed
by the next one that opens a socket.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import threading
import weakref
from contextlib import suppress

from otel_memory import _guard
from otel_memory.config import OTEL_PYTHON_MEMORY_TOP
from otel_memory.snapshot import heap_profile
from otel_memory.top_directory import (
    UnfitError,
    is_answered,
    make_directory,
    remove_left_behind,
)

PAUSE_SECONDS = 0.2
"""After each client."""
SEND_SECONDS = 2.0
"""For a whole answer; a client that reads takes milliseconds."""

_BACKLOG = 8
# At an uninstrument(): an answer that is being sent is finished, but not for ever.
_JOIN_SECONDS = 5.0
_ROOT = 0
_PEER = struct.Struct("iII")  # pid, uid, gid
# The descriptors or buffers that are lacking may be there a moment later.
_PASSING_ERRORS = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
    *(errno.ECONNABORTED, errno.EAGAIN, errno.EINTR),
}
# An application may have SIGPIPE end it; a client that has gone shall not.
_SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)

_logger = logging.getLogger("otel_memory")


def read_peer(connection: socket.socket) -> tuple[int, int] | None:
    """Ask the kernel for the process and the user at the other end.

    Of a process that listens, they are what they were when it began to.

    Returns:
        Both ids, or None where the kernel does not tell.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    answer = connection.getsockopt(socket.SOL_SOCKET, option, _PEER.size)
    pid, uid, _ = _PEER.unpack(answer)
    return pid, uid


def is_trusted_unseen() -> bool:
    """Tell whether to trust a peer of which the kernel tells nothing: in doubt not."""
    return os.geteuid() != _ROOT


def is_welcome(peer: tuple[int, int] | None) -> bool:
    """Tell whether a peer, as `read_peer` gives it, may see this process's figures."""
    return is_trusted_unseen() if peer is None else peer[1] in (os.geteuid(), _ROOT)


class TopSocket:
    """Answers `otel-memory top`. One per `instrument()`."""

    def __init__(self) -> None:
        self._is_started = False
        self._has_warned = False
        self._ended = threading.Event()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @_guard.guard("top socket: start")
    def start(self) -> None:
        """Open the socket and start the thread, here and in children forked later."""
        _follow_forks()
        _started.add(self)
        self._is_started = True
        self._open()

    def _open(self) -> None:
        try:
            directory = make_directory()
            listener = _Listener(os.path.join(directory, f"{os.getpid()}.sock"))
        except (UnfitError, OSError) as error:
            self._warn(str(error))
            return
        # New: the lock of the one that a child inherits may be held.
        self._ended, self._listener = threading.Event(), listener
        thread = threading.Thread(
            target=self._run,
            args=(listener, self._ended, directory),
            name="otel-memory-top",
            daemon=True,
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            # A client would wait for an answer.
            self._listener = None
            listener.remove_file()
            listener.close()
            self._warn(str(error) or "out of memory")
        else:
            self._thread = thread

    def _warn(self, problem: str) -> None:
        if not self._has_warned:  # A child would only repeat it.
            self._has_warned = True
            _logger.warning(
                "%s: `otel-memory top` cannot ask process %d: %s",
                OTEL_PYTHON_MEMORY_TOP,
                os.getpid(),
                problem,
            )

    @_guard.guard("top socket: after fork")
    def start_in_child(self) -> None:
        """Leave the parent's socket, and open one of our own; in a forked child."""
        inherited, self._listener, self._thread = self._listener, None, None
        if inherited is not None:
            inherited.disown()
        if self._is_started:
            self._open()

    def _run(self, listener: _Listener, ended: threading.Event, directory: str) -> None:
        with _guard.guard("top socket: clean up"), suppress(OSError):
            remove_left_behind(directory)
        while listener.is_own() and not ended.is_set():
            try:
                connection = listener.accept()
            except OSError as error:
                if error.errno not in _PASSING_ERRORS:
                    break
            else:
                with _guard.guard("top socket: answer"), connection:
                    if not ended.is_set():
                        _answer(connection)
                listener.connection = None
            ended.wait(PAUSE_SECONDS)
        if not listener.is_own():
            # A greenlet that a child inherits; the child has one of its own. The end
            # of a thread that `threading` has forgotten would be a traceback.
            threading.Event().wait()
        listener.close()
        if not ended.is_set():
            listener.remove_file()
            self._warn("somebody has closed the socket")

    def finish(self) -> None:
        """Remove the file: the process ends, and its thread with it."""
        self._is_started = False
        if self._listener is not None:
            self._listener.remove_file()

    @_guard.guard("top socket: close")
    def close(self) -> None:
        """Remove the file and end the thread."""
        _started.discard(self)
        self.finish()
        self._ended.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)


# Those that are open. A hook at forks is for good, so there is one for all of them.
_started: weakref.WeakSet[TopSocket] = weakref.WeakSet()
_follows_forks = False


def _follow_forks() -> None:
    global _follows_forks
    if not _follows_forks:
        _follows_forks = True
        os.register_at_fork(after_in_child=_start_in_child)


def _start_in_child() -> None:
    for top_socket in list(_started):
        top_socket.start_in_child()


class _Listener:
    """A listening socket, whose descriptor and file are its own.

    Daemons close every descriptor they find, and the number may by now belong to a
    socket of the application: so it is looked at before each use.

    Attributes:
        connection: To the client that is being served, if there is one.
    """

    def __init__(self, path: str) -> None:
        if is_answered(path):
            # A process of another PID namespace, with the same directory.
            raise UnfitError(f"another process answers at {path}")
        with suppress(FileNotFoundError):
            os.unlink(path)
        # Looked up now: gevent replaces it with one that lets other greenlets run.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(None)  # The application may have set a default.
            self._socket.bind(path)
            os.chmod(path, 0o600)
            self._socket.listen(_BACKLOG)
            self._file_status = os.lstat(path)
            self._status = os.fstat(self._socket.fileno())
        except OSError as error:
            self._socket.close()
            raise UnfitError(f"{error.strerror or error}: {path}") from None
        self._path = path
        # Both: a child of another PID namespace may have its parent's number.
        self._pid, self._is_disowned = os.getpid(), False
        self.connection: socket.socket | None = None

    def is_own(self) -> bool:
        """Tell whether this process has opened it, and not one that it was forked of."""
        return not self._is_disowned and os.getpid() == self._pid

    def _is_ours(self) -> bool:
        with suppress(OSError, ValueError):
            return os.path.samestat(os.fstat(self._socket.fileno()), self._status)
        return False

    def accept(self) -> socket.socket:
        """Wait for a client.

        Raises:
            OSError: None came, or none can come any more.
        """
        if not self._is_ours():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.connection = self._socket.accept()[0]
        return self.connection

    def wake(self) -> None:
        """Let `accept` return. Not for a child: its parent's would return too."""
        with suppress(OSError):
            if self._is_ours():
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor; the parent's goes on."""
        if self._is_ours():
            self._socket.close()
        else:
            self._socket.detach()

    def disown(self) -> None:
        """Close what a forked child inherits, a client that is being served, too.

        It would wait for an end of the answer that the child's descriptor puts off.
        """
        self._is_disowned = True
        self.close()
        if self.connection is not None:
            self.connection.close()

    def remove_file(self) -> None:
        """Remove the file, if it is still ours."""
        with suppress(OSError):
            if self.is_own() and os.path.samestat(
                os.lstat(self._path), self._file_status
            ):
                os.unlink(self._path)


def _answer(connection: socket.socket) -> None:
    connection.settimeout(SEND_SECONDS)
    # The client may be gone; and there may be no figures any more: it sees an end.
    with suppress(OSError, RuntimeError):
        if is_welcome(read_peer(connection)):
            connection.sendall(heap_profile(), _SEND_FLAGS)
