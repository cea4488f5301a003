# SPDX-License-Identifier: Apache-2.0
"""The recording file: private, recognisable, and read with care."""

from __future__ import annotations

import json
import stat

import pytest

from otel_memory.errors import CommandError
from otel_memory.recording.file import (
    ATTR_EXIT_CODE,
    RecordingReader,
    RecordingWriter,
    Start,
)

START = Start(("python", "app.py", "--token=hunter2"), "/srv/shop", 1000.0)
LINE = {"resourceSpans": [{"resource": {}, "scopeSpans": []}]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


def write(path, *lines, exit_code=0):
    writer = RecordingWriter(path, START)
    for line in lines:
        writer.write(line)
    writer.close(exit_code, ["One note."])


def test_what_is_written_is_read(path):
    write(path, LINE, LINE, exit_code=3)
    reader = RecordingReader(path)
    assert list(reader.lines()) == [LINE, LINE]
    assert reader.start.command == ("python", "app.py", "--token=[redacted]")
    assert reader.start.directory == "/srv/shop"
    assert reader.start.time_seconds == 1000.0
    assert reader.end[ATTR_EXIT_CODE] == 3
    assert reader.notes == ["One note."]


def test_every_line_is_otlp_json_and_none_holds_a_secret(path):
    command = {
        "key": "process.command_line",
        "value": {"stringValue": "a --token hunter2"},
    }
    write(path, {"resourceSpans": [{"resource": {"attributes": [command]}}]})
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert all(next(iter(json.loads(line))).startswith("resource") for line in lines)
    assert "hunter2" not in path.read_text()


def test_only_the_owner_can_read_it(path):
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_overwritten_only_by_force_and_is_private_then_too(path):
    path.write_text("precious")
    path.chmod(0o644)
    with pytest.raises(CommandError, match="exists; --force overwrites it"):
        RecordingWriter(path, START)
    assert path.read_text() == "precious"
    RecordingWriter(path, START, force=True).close(0)
    assert "precious" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_force_replaces_neither_directories_nor_devices(tmp_path):
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(CommandError, match="no regular file"):
            RecordingWriter(type(tmp_path)(path), START, force=True)


def test_a_link_is_not_followed(path, tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(CommandError):
        RecordingWriter(path, START, force=True)
    assert target.read_text() == "precious"


def test_no_directory_is_one_clear_line(tmp_path):
    with pytest.raises(CommandError, match=r"cannot write .*no/where"):
        RecordingWriter(tmp_path / "no/where", START)


@pytest.mark.parametrize("cut_bytes", [1, 2, 50])
def test_a_cut_last_line_is_a_note(path, cut_bytes):
    write(path, LINE)
    content = path.read_bytes()
    path.write_bytes(content[:-cut_bytes])
    reader = RecordingReader(path)
    assert list(reader.lines()) == [LINE]
    is_newline_only = cut_bytes == 1
    assert any("is cut" in note for note in reader.notes) is not is_newline_only


def test_a_recording_without_an_end_says_so(path):
    write(path, LINE)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    reader = RecordingReader(path)
    assert list(reader.lines()) == [LINE]
    assert reader.end is None
    assert any("has no end" in note for note in reader.notes)


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"hello\n",
        b"{}\n",
        b"[1]\n",
        b"\xff\xfe\x00" * 100,
        b"[" * 100_000,
        b'{"resourceLogs":[]}\n',
        b'{"resourceLogs":7}\n',
        b'{"resourceMetrics":[{"resource":{}}]}\n',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[null,{"eventName":3}]}]}]}\n',
        b"x" * 5_000_000,
    ],
)
def test_a_foreign_file_is_one_line_that_names_it(path, content):
    path.write_bytes(content)
    with pytest.raises(CommandError, match=r"run\.jsonl is not a recording") as caught:
        RecordingReader(path)
    assert caught.value.exit_code == 2


def test_an_empty_missing_or_unreadable_file_is_one_line_that_names_it(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    for path, message in (
        (empty, "is empty"),
        (tmp_path / "missing", r"cannot read .*missing"),
        (tmp_path, "is not a file"),
    ):
        with pytest.raises(CommandError, match=message):
            RecordingReader(path)


def test_a_broken_line_in_the_middle_is_named(path):
    write(path, LINE)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "garbage\n", *lines[1:]]))
    with pytest.raises(CommandError, match="line 2: not OTLP JSON"):
        list(RecordingReader(path).lines())


def test_a_newer_schema_is_refused(path):
    write(path)
    text = path.read_text().replace('{"intValue":"1"}', '{"intValue":"2"}', 1)
    path.write_text(text)
    with pytest.raises(CommandError, match="has schema 2"):
        RecordingReader(path)
