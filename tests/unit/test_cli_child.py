# SPDX-License-Identifier: Apache-2.0
"""A command is asked to end ever more firmly; how it ends is its exit code."""

from __future__ import annotations

import os

import pytest

from otel_memory.cli import child
from otel_memory.cli.child import Child


@pytest.mark.parametrize(
    ("ignored", "grace_seconds", "expected"),
    [
        # What obeys may take its time, on a busy machine.
        ("HUP", 60, 0),
        ("INT", 1, 0),
        # It did not end as it should, and had no time for a last report.
        ("INT TERM", 0.1, 137),
    ],
)
def test_what_obeys_has_not_failed_and_what_must_be_killed_has(
    tmp_path, monkeypatch, ignored, grace_seconds, expected
):
    monkeypatch.setattr(child, "_GRACE_SECONDS", grace_seconds)
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    script = f"trap '' {ignored}; echo > {ready}; exec sleep 600"
    command = Child(["bash", "-c", script], os.environ)
    ready.read_text()
    assert command.wait(lambda: None, 0.1) == expected
