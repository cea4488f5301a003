# SPDX-License-Identifier: Apache-2.0
"""The socket for `otel-memory top`: private, harmless, one to each process."""

from __future__ import annotations

import gc
import io
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from _fork import fork_and_wait
from _tools import Logged, start
from _warm import serve_cases

from otel_memory import MemoryInstrumentor, instrumentor, top_socket
from otel_memory.recording.file import EVENT_ENDED, events_of, parse_line, read_start
from otel_memory.recording.fold import SummaryBuilder

TIMEOUT_SECONDS = 60
top_socket.PAUSE_SECONDS = 0.02
NOBODY = 65534


def directory():
    return Path(os.environ["XDG_RUNTIME_DIR"], f"otel-memory-{os.geteuid()}")


def path_of(pid=None):
    return directory() / f"{pid or os.getpid()}.sock"


def connect(path=None):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(TIMEOUT_SECONDS)
    client.connect(str(path or path_of()))
    return client


def read_all(client):
    chunks = []
    while chunk := client.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def ask(path=None):
    with connect(path) as client:
        return read_all(client)


def summarise(answer):
    """Sum up an answer, which must be whole."""
    first, *lines, last = [parse_line(raw) for raw in answer.splitlines()]
    assert next(events_of(last, EVENT_ENDED), None), last
    builder = SummaryBuilder(read_start(first, "the answer"))
    for line in lines:
        builder.add(line)
    return builder.build(None)


def pid_in(answer):
    ((process),) = summarise(answer).processes
    return process.pid


def hold(tracer, name="holder"):
    from otel_memory.heap import _core

    _core.set_sampling(True, rate_bytes=32 * 1024, seed=7)
    with tracer.start_as_current_span(name):
        return [bytearray(10_000) for _ in range(2000)]


def threads():
    return [t for t in threading.enumerate() if t.name == "otel-memory-top"]


def sockets():
    """The sockets that this process has open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def wait_for_end(thread):
    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()


def case_the_user_gets_a_profile_and_others_cannot_come_near():
    os.umask(0)
    tracer = start(top=True)
    assert stat.S_IMODE(directory().lstat().st_mode) == 0o700
    status = path_of().lstat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600
    kept = hold(tracer)
    for _ in range(2):
        summary = summarise(ask())
        ((process),) = summary.processes
        assert (process.pid, process.heap_source) == (os.getpid(), "native")
        assert process.rss_end_bytes > 20e6
        rows = {row.name: row.live_bytes for row in summary.spans}
        assert 16e6 < rows["holder"] < 24e6, rows
        assert summary.sites[0].span == "holder"
        assert summary.sites[0].file.endswith(Path(__file__).name)
    del kept


def case_without_a_directory_of_the_session_it_is_the_systems():
    for unfit in ("", str(Path(tempfile.gettempdir(), "no", "where"))):
        os.environ["XDG_RUNTIME_DIR"] = unfit
        start(top=True)
        name = f"otel-memory-{os.geteuid()}"
        path = Path(tempfile.gettempdir(), name, f"{os.getpid()}.sock")
        assert pid_in(ask(path)) == os.getpid()
        MemoryInstrumentor().uninstrument()
        assert not path.exists()


def assert_refused(why):
    logged = Logged()
    start(top=True)
    (line,) = logged.about("OTEL_PYTHON_MEMORY_TOP")
    assert why in line
    assert not threads()
    fork_and_wait(lambda: None if len(logged.about("MEMORY_TOP")) == 1 else os._exit(1))
    MemoryInstrumentor().uninstrument()


def case_an_unfit_directory_is_refused_with_one_warning():
    elsewhere = Path(tempfile.mkdtemp())
    directory().symlink_to(elsewhere)
    assert_refused("is no directory")
    assert directory().is_symlink()
    assert list(elsewhere.iterdir()) == []
    directory().unlink()
    directory().write_text("precious")
    assert_refused("is no directory")
    assert directory().read_text() == "precious"
    directory().unlink()
    directory().mkdir()
    directory().chmod(0o710)
    assert_refused("its mode must be 0700")
    assert list(directory().iterdir()) == []
    if os.geteuid() == 0:  # Only root can give a directory away.
        directory().chmod(0o700)
        os.chown(directory(), NOBODY, NOBODY)
        assert_refused(f"belongs to user {NOBODY}")
    parent = Path(os.environ["XDG_RUNTIME_DIR"], "x" * 100)
    parent.mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(parent)
    assert_refused("too long")


def case_a_socket_that_is_answered_is_not_replaced():
    directory().mkdir(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path_of()))
        other.listen(0)
        inode = path_of().lstat().st_ino
        assert_refused("another process answers at")
        assert path_of().lstat().st_ino == inode


def case_another_user_is_sent_away():
    """Even where all permissions are gone; root alone can try it in earnest."""
    assert top_socket.is_welcome((1, os.geteuid()))
    assert top_socket.is_welcome((1, 0))
    assert not top_socket.is_welcome((1, NOBODY))
    if os.geteuid() != 0:
        return
    start(top=True)
    os.chdir(directory())
    directory().chmod(0o755)
    path_of().chmod(0o666)

    def as_nobody():
        name = f"{os.getppid()}.sock"
        os.seteuid(NOBODY)
        assert ask(name) == b""

    fork_and_wait(as_nobody)
    assert pid_in(ask()) == os.getpid()


def case_where_the_kernel_tells_no_peer_root_answers_nobody():
    start(top=True)
    del socket.SO_PEERCRED
    assert (ask() == b"") is (os.geteuid() == 0)
    if os.geteuid() == 0:
        MemoryInstrumentor().uninstrument()
        shutil.rmtree(directory())
        os.chown(os.environ["XDG_RUNTIME_DIR"], NOBODY, NOBODY)
        os.seteuid(NOBODY)
        MemoryInstrumentor().instrument(top=True)
        assert pid_in(ask()) == os.getpid()


def case_what_killed_processes_left_is_replaced_or_removed():
    directory().mkdir(0o700)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    pids = (os.getpid(), dead.pid, os.getppid())
    for name in (*(f"{pid}.sock" for pid in pids), "mine.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
            left.bind(str(directory() / name))
    (directory() / f"{dead.pid}.txt").touch()
    start(top=True)
    assert pid_in(ask()) == os.getpid()  # by the thread, which has cleaned up before
    names = {path.name for path in directory().iterdir()}
    assert names == {
        f"{os.getpid()}.sock",
        f"{os.getppid()}.sock",
        "mine.sock",
        f"{dead.pid}.txt",
    }


def wait_until_hung_up(client):
    """See the end of an answer without reading what there is of it."""
    poll = select.poll()
    poll.register(client, 0)  # POLLHUP is told always.
    assert poll.poll(TIMEOUT_SECONDS * 1000) == [(client.fileno(), select.POLLHUP)]


def case_clients_that_misbehave_are_harmless():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # or Python would ignore it
    top_socket.SEND_SECONDS = 0.2
    be_busy(start(top=True))
    for _ in range(3):
        connect().close()
    silent = connect()
    talker = connect()
    talker.sendall(b"GET / HTTP/1.1\r\n" * 1000)
    talker.close()
    wait_until_hung_up(silent)
    top_socket.SEND_SECONDS = TIMEOUT_SECONDS  # We read, but may have to wait.
    whole = ask()
    assert len(whole) > 500_000
    assert pid_in(whole) == os.getpid()
    part = read_all(silent)
    assert 0 < len(part) < len(whole)
    silent.close()
    assert len(threads()) == 1


def case_after_a_client_there_is_a_pause():
    top_socket.PAUSE_SECONDS = 3600
    start(top=True)
    ask()
    with connect() as second:
        MemoryInstrumentor().uninstrument()  # does not wait for its end
        assert not threads()
        with suppress(ConnectionResetError):
            assert second.recv(1) == b""


def case_descriptors_may_run_out_for_a_while():
    import resource

    start(top=True)
    ask()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(TIMEOUT_SECONDS)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    client.connect(str(path_of()))
    top_socket._Listener.accept, accept = counted(top_socket._Listener.accept)
    assert accept.acquire(timeout=TIMEOUT_SECONDS)  # It has failed, and tries again.
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert pid_in(read_all(client)) == os.getpid()


def counted(function):
    """Tell of each call of a function."""
    called = threading.Semaphore(0)

    def call(*arguments):
        called.release()
        return function(*arguments)

    return call, called


def case_a_default_timeout_of_the_application_is_not_ours():
    socket.setdefaulttimeout(0.001)
    start(top=True)
    assert instrumentor._wiring.top_socket._listener._socket.gettimeout() is None
    assert pid_in(ask()) == os.getpid()


def case_the_process_is_shown_where_the_heap_is_not():
    start(top=True, heap="off")
    summary = summarise(ask())
    ((process),) = summary.processes
    assert process.heap_source == "off"
    assert process.rss_end_bytes > 5e6
    assert not summary.spans


def case_a_forked_child_has_a_socket_of_its_own():
    tracer = start(top=True)
    kept = hold(tracer)
    before = sockets()
    of_parent = path_of()

    def in_the_child():
        assert len(before) == len(sockets()) == 1
        assert not before & sockets()
        assert len(threads()) == 1
        assert pid_in(ask()) == os.getpid()
        assert pid_in(ask(of_parent)) == os.getppid()
        fork_and_wait(lambda: os._exit(0 if pid_in(ask()) == os.getpid() else 1))
        MemoryInstrumentor().uninstrument()
        assert not path_of().exists()
        assert not threads()
        assert of_parent.exists()

    fork_and_wait(in_the_child)
    assert pid_in(ask()) == os.getpid()
    assert sockets() == before
    del kept


def be_busy(tracer):
    """Let an answer be more than a socket's buffer holds."""
    for number in range(400):
        with tracer.start_as_current_span(f"work {number} {'x' * 200}"):
            bytearray(100)


def case_a_child_does_not_hold_the_client_that_is_served():
    top_socket.SEND_SECONDS = TIMEOUT_SECONDS
    be_busy(start(top=True))
    with connect() as slow:
        first = slow.recv(1)
        of_client = f"socket:[{os.fstat(slow.fileno()).st_ino}]"
        before = sockets()
        assert len(before) == 3  # ours: the client's, the connection, the listener

        def in_the_child():
            assert pid_in(ask()) == os.getpid()
            assert sockets() & before == {of_client}

        fork_and_wait(in_the_child)
        assert pid_in(first + read_all(slow)) == os.getpid()


def case_what_was_closed_is_not_kept():
    closed = []
    for _ in range(5):
        start(top=True)
        closed.append(weakref.ref(instrumentor._wiring.top_socket))
        MemoryInstrumentor().uninstrument()
    gc.collect()
    assert [each() for each in closed] == [None] * 5
    start(top=True)
    fork_and_wait(lambda: os._exit(0 if pid_in(ask()) == os.getpid() else 1))


class NoThreads:
    """Threads cannot be started, as where a container allows no more of them."""

    def __enter__(self):
        self._start = threading.Thread.start

        def start(thread):
            raise RuntimeError("can't start new thread")

        threading.Thread.start = start

    def __exit__(self, *_):
        threading.Thread.start = self._start


def case_without_a_thread_there_is_no_socket():
    start()
    logged = Logged()
    before = sockets()
    ours = top_socket.TopSocket()
    with NoThreads():
        ours.start()
    assert len(logged.about("MEMORY_TOP: `otel-memory top` cannot")) == 1
    assert "can't start new thread" in logged.lines[-1]
    assert sockets() == before
    assert list(directory().iterdir()) == []
    ours.close()
    ours.start()  # It can be tried again, and a child tries by itself.
    assert pid_in(ask()) == os.getpid()

    def in_the_child():
        with NoThreads():
            fork_and_wait(lambda: os._exit(1 if path_of().exists() else 0))
        assert pid_in(ask()) == os.getpid()
        ours.close()
        assert not path_of().exists()

    fork_and_wait(in_the_child)
    ours.close()
    ours.close()
    assert len(logged.lines) == 1


def case_uninstrument_gives_all_back():
    before = sockets()
    for _ in range(3):
        start(top=True)
        assert len(threads()) == 1
        assert pid_in(ask()) == os.getpid()
        MemoryInstrumentor().uninstrument()
        assert not threads()
        assert sockets() == before
        assert list(directory().iterdir()) == []

    def in_the_child():
        assert not threads()
        assert not sockets() - before

    fork_and_wait(in_the_child)


def case_a_file_that_is_not_ours_any_more_stays():
    logged = Logged()
    start(top=True)
    path_of().unlink()
    path_of().write_text("precious")
    MemoryInstrumentor().uninstrument()
    assert path_of().read_text() == "precious"
    path_of().unlink()
    start(top=True)
    shutil.rmtree(directory())
    MemoryInstrumentor().uninstrument()
    assert not logged.about("OTEL_PYTHON_MEMORY_TOP")


def wait_until_blocked(thread, descriptor):
    """See a thread in a call on a descriptor, where the kernel tells.

    A moment earlier it has looked whose the descriptor is, and not yet called.
    """
    call = Path(f"/proc/self/task/{thread.native_id}/syscall")
    with suppress(OSError):
        while call.read_text().split()[1:2] != [hex(descriptor)]:
            assert thread.is_alive()


def case_a_socket_of_the_application_that_has_our_number_is_left_alone():
    """As after a daemon has closed every descriptor that it found."""
    logged = Logged()
    start(top=True)
    (thread,) = threads()
    number = instrumentor._wiring.top_socket._listener._socket.fileno()
    theirs = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = Path(os.environ["XDG_RUNTIME_DIR"], "theirs.sock")
    theirs.bind(str(path))
    theirs.listen()
    wait_until_blocked(thread, number)
    os.dup2(theirs.fileno(), number)
    theirs.close()
    theirs = socket.socket(fileno=number)
    with suppress(OSError):  # The thread may still wait on the old one.
        ask()
    client = connect(path)
    wait_for_end(thread)
    assert len(logged.about("somebody has closed the socket")) == 1
    assert not path_of().exists()
    MemoryInstrumentor().uninstrument()
    accepted, _ = theirs.accept()
    accepted.sendall(b"theirs")
    assert client.recv(10) == b"theirs"


def case_gevent_that_comes_first():
    from gevent import monkey

    monkey.patch_all()
    start(top=True)
    assert pid_in(ask()) == os.getpid()
    assert pid_in(ask()) == os.getpid()
    MemoryInstrumentor().uninstrument()
    assert not path_of().exists()


class Heard(io.StringIO):
    """Standard error, and what was written there."""

    def write(self, text):
        sys.__stderr__.write(text)
        return super().write(text)


def case_gevents_fork_leaves_the_parents_socket_alone():
    from gevent import monkey

    monkey.patch_all()
    import gevent

    logged = Logged()
    sys.stderr = Heard()
    accept, accepting = top_socket._Listener.accept, set()

    def noted(listener):
        accepting.add((os.getpid(), gevent.getcurrent()))
        return accept(listener)

    top_socket._Listener.accept = noted
    top_socket.SEND_SECONDS = TIMEOUT_SECONDS
    be_busy(start(top=True))
    parent, of_parent = os.getpid(), path_of()

    def in_the_child():
        assert pid_in(ask()) == os.getpid()
        assert pid_in(ask()) == os.getpid()
        assert len([pid for pid, _ in accepting if pid == os.getpid()]) == 1
        assert of_parent.exists()
        assert not logged.about("MEMORY_TOP")
        assert "otel-memory-top" not in sys.stderr.getvalue()

    fork_and_wait(lambda: fork_and_wait(in_the_child))  # It waits for a client.
    assert pid_in(ask()) == parent
    fork_and_wait(in_the_child)  # It is in the pause.
    with connect() as slow:
        first = slow.recv(1)
        fork_and_wait(in_the_child)  # It answers.
        assert pid_in(first + read_all(slow)) == parent
    assert pid_in(ask()) == parent
    assert not logged.about("MEMORY_TOP")
    MemoryInstrumentor().uninstrument()
    assert not of_parent.exists()


def case_gevent_that_comes_later():
    start(top=True)
    from gevent import monkey

    monkey.patch_all()
    assert pid_in(ask()) == os.getpid()
    assert pid_in(ask()) == os.getpid()


def case_it_is_off_by_default_and_brings_nothing():
    code = (
        "import json, os, sys, otel_memory\n"
        "for value in sys.argv[1:]:\n"
        "    os.environ['OTEL_PYTHON_MEMORY_TOP'] = value\n"
        "    otel_memory.MemoryInstrumentor().instrument()\n"
        "    ours = [m for m in sys.modules if m.startswith('otel_memory')]\n"
        "    print(json.dumps([ours, os.listdir(os.environ['XDG_RUNTIME_DIR'])]))\n"
        "    otel_memory.MemoryInstrumentor().uninstrument()\n"
        "otel_memory.MemoryInstrumentor().instrument()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "", "false", "true"],
        capture_output=True,
        check=True,
    )
    *off, on = [json.loads(line) for line in done.stdout.splitlines()]
    for is_on, (modules, names) in ((False, off[0]), (False, off[1]), (True, on)):
        for module in ("top_socket", "snapshot", "recording.file"):
            assert (f"otel_memory.{module}" in modules) is is_on, module
        assert names == ([directory().name] if is_on else [])
    assert list(directory().iterdir()) == []  # The end of the process has cleaned up.


if __name__ == "__main__":
    serve_cases()
