# SPDX-License-Identifier: Apache-2.0
"""Files that are cut short anywhere: the exact figure, or none, never a wrong one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from otel_memory.process import Pressure, ProcfsReadings
from otel_memory.semconv import PRESSURE_MACHINE

FIXTURES = Path(__file__).parents[1] / "fixtures"
READINGS = (
    *("resident", "virtual_bytes", "peak_bytes", "uptime_seconds", "faults", "details"),
    *("limit_bytes", "limit_usage_bytes", "limit_events"),
    "pressure",
)
TREES = (
    "proc/worker",
    "cgroup/hybrid",
    "cgroup/v1-docker",
    "cgroup/v1-kubernetes",
    "cgroup/v1-unlimited",
    "cgroup/v2-container",
    "cgroup/v2-kubernetes",
    "cgroup/v2-nested",
    "cgroup/v2-outside-namespace",
    "cgroup/v2-two-mounts",
    "cgroup/v2-unlimited",
)
FILES = [
    pytest.param(tree, file, id=f"{tree}/{file}")
    for tree in TREES
    for file in sorted(
        str(path.relative_to(FIXTURES / tree))
        for path in (FIXTURES / tree).rglob("*")
        if path.is_file()
    )
]
MACHINE = Pressure(PRESSURE_MACHINE, 9.000001, 4.000002)


def read_all(root: Path) -> dict[str, Any]:
    readings = ProcfsReadings(str(root), clock=lambda: 1300.5)
    return {name: getattr(readings, name)() for name in READINGS}


def is_exact_or_none(figure: Any, exact: Any) -> bool:
    """Compare figures, or what consists of some, of which each may be missing."""
    if figure is None or figure == exact:
        return True
    if not isinstance(exact, tuple):
        return False
    return all(
        mine in (None, theirs) for mine, theirs in zip(figure, exact, strict=True)
    )


@pytest.mark.parametrize(("tree", "file"), FILES)
def test_a_file_that_is_cut_short(tree: str, file: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / tree, tmp_path, dirs_exist_ok=True)
    exact = read_all(tmp_path)
    content = (tmp_path / file).read_bytes()
    wrong = []
    for length in range(len(content)):
        (tmp_path / file).write_bytes(content[:length])
        for name, figure in read_all(tmp_path).items():
            if name == "pressure" and figure == MACHINE:
                continue  # Says that it is another scope's, and is right.
            if not is_exact_or_none(figure, exact[name]):
                wrong.append((content[:length][-20:], name, figure, exact[name]))
    assert wrong == []


def test_the_recorded_trees_have_every_reading() -> None:
    known = {
        name
        for tree in TREES
        for name, figure in read_all(FIXTURES / tree).items()
        if figure is not None
    }
    assert known == set(READINGS)


@pytest.mark.parametrize(("tree", "file"), FILES)
def test_a_file_of_something_else(tree: str, file: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / tree, tmp_path, dirs_exist_ok=True)
    exact = read_all(tmp_path)
    for content in (b"\n", b"\0" * 64 + b"\n", b"\xff\n", b"9" * 5000 + b"\n", b"-1\n"):
        (tmp_path / file).write_bytes(content)
        for name, figure in read_all(tmp_path).items():
            if not (name == "pressure" and figure == MACHINE):
                assert is_exact_or_none(figure, exact[name]), (content[-9:], name)
