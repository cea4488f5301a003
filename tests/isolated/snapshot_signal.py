# SPDX-License-Identifier: Apache-2.0
"""A signal that asks for a profile disturbs nothing, and is given back."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import logging
import os
import queue
import re
import signal
import tempfile
import threading
import traceback
import warnings
from fcntl import ioctl
from pathlib import Path
from struct import unpack
from termios import FIONREAD

from _tools import run_case, start

from otel_memory import MemoryInstrumentor, instrumentor, profile_signal
from otel_memory.recording.fold import summarise

NAME, NUMBER = "SIGRTMIN+3", signal.SIGRTMIN + 3
TIMEOUT_SECONDS = 60
WROTE = r"SIGRTMIN\+3: wrote a heap profile of .*: otel-memory report (?P<path>.*)"


class Lines(logging.Handler):
    """Gives what we log, line by line; a gate can hold up who logs."""

    def __init__(self):
        super().__init__()
        self.lines = queue.SimpleQueue()
        self.gate = threading.Event()
        self.gate.set()
        logger = logging.getLogger("otel_memory")
        logger.addHandler(self)
        logger.propagate = False

    def handle(self, record):  # without the handler's lock, so that others can log
        self.emit(record)

    def emit(self, record):
        self.lines.put(record.getMessage())
        assert self.gate.wait(TIMEOUT_SECONDS)

    def get(self, pattern):
        line = self.lines.get(timeout=TIMEOUT_SECONDS)
        match = re.fullmatch(pattern, line)
        assert match, line
        return match

    def get_path(self):
        return Path(self.get(WROTE)["path"])


def instrumented(**config):
    lines = Lines()
    tracer = start(profile_signal=NAME, **config)
    return tracer, lines


def ask(pid=None):
    os.kill(pid or os.getpid(), NUMBER)


def hold(tracer, name="holder"):
    from otel_memory.heap import _core

    _core.set_sampling(True, rate_bytes=32 * 1024, seed=7)
    with tracer.start_as_current_span(name):
        return [bytearray(10_000) for _ in range(2000)]


def assert_holds(path, name="holder"):
    summary = summarise(path)
    rows = {row.name: row.live_bytes for row in summary.spans}
    assert 16e6 < rows[name] < 24e6, rows


def threads():
    return [t for t in threading.enumerate() if t.name == "otel-memory-profile-signal"]


def pipes():
    """The pipes that this process has open, by descriptor."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith("pipe:"):
            found[int(number)] = target
    return found


def unread_bytes():
    pipe = instrumentor._wiring.profile_signal._pipe
    return unpack("i", ioctl(pipe._ends[0], FIONREAD, b"\0" * 4))[0]


def case_a_profile_is_written_and_one_line_says_where():
    tracer, lines = instrumented()
    kept = hold(tracer)
    ask()
    path = lines.get_path()
    assert path.parent == Path(tempfile.gettempdir())
    assert_holds(path)
    assert lines.lines.empty()
    del kept


def case_many_in_a_row_ask_for_one_more():
    _, lines = instrumented(profile_directory=tempfile.mkdtemp())
    lines.gate.clear()
    ask()
    paths = [lines.get_path()]  # its writer waits at the gate
    for _ in range(200):
        ask()
    assert unread_bytes() == 200
    lines.gate.set()
    paths.append(lines.get_path())
    ask()
    paths.append(lines.get_path())
    assert unread_bytes() == 0
    assert sorted(os.listdir(paths[0].parent)) == sorted(p.name for p in paths)


def case_after_a_profile_there_is_a_pause():
    profile_signal.PAUSE_SECONDS = 3600
    _, lines = instrumented()
    ask()
    lines.get_path()
    for _ in range(10):
        ask()
        gc.collect()
    assert unread_bytes() == 10
    MemoryInstrumentor().uninstrument()  # does not wait for its end
    assert not threads()
    assert lines.lines.empty()


def case_a_full_pipe_does_not_hold_the_application_up():
    _, lines = instrumented()
    lines.gate.clear()
    ask()
    lines.get_path()
    number = signal.getsignal(NUMBER)
    for _ in range(70_000):  # a pipe holds 65,536 bytes
        number(NUMBER, None)
    lines.gate.set()
    lines.get_path()


def case_a_storm_while_threads_allocate():
    tracer, lines = instrumented(profile_directory=tempfile.mkdtemp())
    kept = hold(tracer)
    done = threading.Event()
    errors = []

    def work(number):
        try:
            while not done.is_set():
                with tracer.start_as_current_span(f"work {number}"):
                    blocks = [bytearray(700) for _ in range(100)]
                del blocks
        except BaseException as error:  # noqa: BLE001 - the main thread looks
            errors.append(error)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for _ in range(200):
        ask()
    first = lines.get_path()
    for _ in range(200):
        ask()
    second = lines.get_path()
    done.set()
    for worker in workers:
        worker.join(TIMEOUT_SECONDS)
    MemoryInstrumentor().uninstrument()
    assert not errors, errors
    for path in (first, second):
        assert_holds(path)
    written = [name for name in os.listdir(first.parent) if name.endswith(".jsonl")]
    assert len(written) < 40, written  # a few, where the machine is not too slow
    del kept


def case_during_a_collection():
    tracer, lines = instrumented()
    kept = hold(tracer)

    def on_collection(phase, info):
        if phase == "start":
            gc.callbacks.remove(on_collection)
            ask()

    gc.callbacks.append(on_collection)
    gc.collect()
    assert_holds(lines.get_path())
    del kept


def case_a_handler_of_the_application_stays():
    called = []
    signal.signal(NUMBER, lambda number, frame: called.append(number))
    before = signal.getsignal(NUMBER)
    _, lines = instrumented()
    lines.get(r"OTEL_PYTHON_MEMORY_PROFILE_SIGNAL=SIGRTMIN\+3: .*another handler.*")
    ask()
    assert called == [NUMBER]
    assert not threads()
    MemoryInstrumentor().uninstrument()
    assert signal.getsignal(NUMBER) is before
    assert lines.lines.empty()


def case_what_is_ignored_stays_ignored():
    signal.signal(NUMBER, signal.SIG_IGN)
    _, lines = instrumented()
    lines.get(".*another handler.*")
    assert signal.getsignal(NUMBER) is signal.SIG_IGN


def case_a_handler_that_python_knows_nothing_of_stays():
    with tempfile.TemporaryFile() as file:
        faulthandler.register(NUMBER, file)
        _, lines = instrumented()
        lines.get(".*another handler.*")
        ask()
        file.seek(0)
        assert b"case_a_handler_that_python_knows" in file.read()


def case_a_handler_that_comes_later_takes_our_place():
    _, lines = instrumented()
    called = []

    def theirs(number, frame):
        called.append(number)

    ours = signal.signal(NUMBER, theirs)
    ask()
    assert called == [NUMBER]
    MemoryInstrumentor().uninstrument()
    assert signal.getsignal(NUMBER) is theirs
    ours(NUMBER, None)  # somebody chains to it: nothing happens
    assert lines.lines.empty()


def case_uninstrument_gives_all_back():
    before = pipes()
    tracer, lines = instrumented()
    kept = hold(tracer)
    for _ in range(3):
        assert len(threads()) == 1
        assert len(pipes()) == len(before) + 2
        ask()
        assert_holds(lines.get_path())
        MemoryInstrumentor().uninstrument()
        assert signal.getsignal(NUMBER) is signal.SIG_DFL
        assert not threads()
        assert pipes() == before
        MemoryInstrumentor().instrument(profile_signal=NAME)
        kept = hold(tracer)
    del kept


def case_only_the_main_thread_can():
    lines = Lines()
    thread = threading.Thread(target=start, kwargs={"profile_signal": NAME})
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    lines.get(r"OTEL_PYTHON_MEMORY_PROFILE_SIGNAL=.*only the main thread .*")
    assert lines.lines.empty()
    assert signal.getsignal(NUMBER) is signal.SIG_DFL
    assert not threads()
    MemoryInstrumentor().uninstrument()


def case_uninstrument_elsewhere_leaves_a_handler_that_does_nothing():
    _, lines = instrumented()
    thread = threading.Thread(target=MemoryInstrumentor().uninstrument)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    assert not threads()
    ask()
    assert lines.lines.empty()


def case_a_signal_is_answered_with_the_reason():
    folder = tempfile.mkdtemp()
    _, lines = instrumented(profile_directory=folder)
    os.rmdir(folder)
    ask()
    lines.get(rf"{re.escape(NAME)}: no heap profile was written: .*No such file.*")
    ask()  # as one who has read this line would, after mending it
    lines.get(f".*No such file.*{folder}.*")
    MemoryInstrumentor().uninstrument()
    MemoryInstrumentor().instrument(profile_signal=NAME, heap="off")
    ask()
    lines.get(".*no heap profile was written: .*OTEL_PYTHON_MEMORY_HEAP is off")


def case_a_forked_child_has_a_pipe_and_a_thread_of_its_own():
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    tracer, lines = instrumented(profile_directory=tempfile.mkdtemp())
    kept = hold(tracer)
    of_parent = set(pipes().values())
    ours = os.fstat(instrumentor._wiring.profile_signal._pipe._ends[0]).st_ino
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert f"pipe:[{ours}]" in of_parent
            assert f"pipe:[{ours}]" not in pipes().values()
            assert len(set(pipes().values())) == len(of_parent)
            ask()
            path = lines.get_path()
            assert f"-{os.getpid()}-" in path.name
            assert_holds(path)
            assert len(threads()) == 1
            MemoryInstrumentor().uninstrument()
            assert not threads()
            code = 0
        except BaseException:  # noqa: BLE001 - the child must end here
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert lines.lines.empty()
    ask()
    assert f"-{os.getpid()}-" in lines.get_path().name
    del kept


def case_a_child_that_is_forked_after_uninstrument_has_none():
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", Warning)
    instrumented()
    MemoryInstrumentor().uninstrument()
    child = os.fork()
    if child == 0:
        os._exit(len(threads()))
    assert os.waitpid(child, 0)[1] == 0


def case_descriptors_that_a_daemon_closed_are_not_written_to():
    _, lines = instrumented()
    ends = instrumentor._wiring.profile_signal._pipe._ends
    with tempfile.TemporaryFile() as file:
        for end in ends:
            os.dup2(file.fileno(), end)
        lines.get(".*somebody has closed our pipe.*")
        ask()
        assert os.fstat(file.fileno()).st_size == 0
        MemoryInstrumentor().uninstrument()
        for end in ends:
            os.fstat(end)  # it is not ours to close
            os.close(end)
    assert lines.lines.empty()


def case_a_closed_pipe_is_told_once():
    _, lines = instrumented()
    os.close(instrumentor._wiring.profile_signal._pipe._ends[1])
    lines.get(".*somebody has closed our pipe.*")
    ask()
    MemoryInstrumentor().uninstrument()
    assert lines.lines.empty()


def case_an_exit_waits_for_a_profile_that_is_being_written():
    finished = []
    atexit.register(lambda: finished or os._exit(9))  # after ours
    _, lines = instrumented()
    atexit.register(lines.gate.set)  # before ours

    class Last(logging.Handler):
        def handle(self, record):
            finished.append(record)

    logging.getLogger("otel_memory").addHandler(Last())
    lines.gate.clear()
    ask()
    lines.get_path()


if __name__ == "__main__":
    run_case()
