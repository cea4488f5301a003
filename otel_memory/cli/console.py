# SPDX-License-Identifier: Apache-2.0
"""Where the command line gets its libraries from, or says that one is missing."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, TextIO

from otel_memory.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console


def require(*packages: str) -> None:
    """Check that packages of the extra `cli` can be imported.

    Raises:
        CommandError: One cannot.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError:
            raise CommandError(
                f"the package {package!r} is missing; pip install 'otel-memory[cli]'"
            ) from None


def open_console(file: TextIO | None = None, *, width: int | None = None) -> Console:
    """Open a console that prints names as they are, not as markup.

    Raises:
        CommandError: The extra is not installed.
    """
    require("rich")
    from rich import console  # noqa: PLC0415 - only the extra `cli` brings it

    class QuietConsole(console.Console):
        def on_broken_pipe(self) -> None:
            """Tell the caller; the base class would choose our exit code."""
            raise BrokenPipeError

    return QuietConsole(
        file=file or sys.stdout,
        width=width,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )
