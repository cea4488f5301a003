# SPDX-License-Identifier: Apache-2.0
"""Where the command line gets `rich` from, or says that it is missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from otel_memory.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console


def require_rich() -> None:
    """Check that tables can be printed.

    Raises:
        CommandError: The extra is not installed.
    """
    try:
        import rich  # noqa: F401, PLC0415 - only the extra `cli` brings it
    except ImportError:
        raise CommandError(
            "the package 'rich' is missing; pip install 'otel-memory[cli]'"
        ) from None


def open_console(file: TextIO | None = None, *, width: int | None = None) -> Console:
    """Open a console that prints names as they are, not as markup.

    Raises:
        CommandError: The extra is not installed.
    """
    require_rich()
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
