# SPDX-License-Identifier: Apache-2.0
"""What every test relies on: which build is tested, and a clean environment."""

from __future__ import annotations

# Before any TracerProvider. The SDK's hook in a forked child starts a thread pool,
# whose lock is free again only after the hook of this module, and hooks run in the
# order in which they were registered: the other way round the child hangs.
import concurrent.futures.thread  # noqa: F401
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_memory import _guard

ROOT = Path(__file__).parents[1]
EXTENSION = "otel_memory.heap._core"
# Set by the noxfile. Without them whatever is importable is tested, and a test that
# needs the extension fails where there is none: nothing is ever skipped for it.
INSTALLED_VARIABLE = "OTEL_MEMORY_TEST_INSTALLED"
EXTENSION_VARIABLE = "OTEL_MEMORY_TEST_EXTENSION"
UNFIT = {"present": "no_extension", "absent": "extension"}


def extension_file() -> str | None:
    try:
        spec = importlib.util.find_spec(EXTENSION)
    except ModuleNotFoundError:
        return None
    return spec.origin if spec else None


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test another build than the one that was asked for."""
    # What a shell starts in the background ignores interrupts, and so would every
    # process that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    package = Path(_guard.__file__).parent
    if os.environ.get(INSTALLED_VARIABLE) and package.is_relative_to(
        ROOT / package.name
    ):
        raise pytest.UsageError(f"{package} is imported, not what is installed")
    expected = os.environ.get(EXTENSION_VARIABLE)
    if expected and (expected == "present") != bool(extension_file()):
        raise pytest.UsageError(f"{EXTENSION} shall be {expected}: {extension_file()}")


def pytest_report_header() -> str:
    return f"otel_memory: {Path(_guard.__file__).parent}, C: {extension_file()}"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Deselect what is not about the build under test."""
    unfit = UNFIT.get(os.environ.get(EXTENSION_VARIABLE, ""))
    deselected = [item for item in items if unfit and item.get_closest_marker(unfit)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of OpenTelemetry's leaks in from outside."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _failures_are_raised() -> Iterator[None]:
    """What the guard would keep from an application shall fail a test."""
    _guard.set_reraise(True)
    yield
    _guard.set_reraise(False)
