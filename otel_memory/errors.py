# SPDX-License-Identifier: Apache-2.0
"""The exceptions that otel-memory raises on purpose.

OtelMemoryError
└── CommandError    a command cannot go on; carries its exit code

Wrong arguments raise `ValueError`, as users of Python expect.
"""

from __future__ import annotations


class OtelMemoryError(Exception):
    """Base of every exception that is ours."""


class CommandError(OtelMemoryError):
    """A command cannot go on; the command line prints the message and exits.

    Attributes:
        message: One line for the user, without a traceback.
        exit_code: What the process exits with.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[CommandError], tuple[str, int]]:
        """Keep the exit code when the error crosses a process boundary."""
        return type(self), (self.message, self.exit_code)
