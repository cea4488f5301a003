# SPDX-License-Identifier: Apache-2.0
"""Take secrets out of command lines before they are written or shown.

What is a secret is told by its name, so a password given without one stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REDACTED = "[redacted]"

_SECRET_NAME = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|credential|authorization|auth[_-]?header"
    r"|otel_\w*headers|exporter_\w*headers|cookie)[\w.-]*"
)
_OPTION = re.compile(rf"--?{_SECRET_NAME}", re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"(?P<name>-{{0,2}}{_SECRET_NAME})[=:].+", re.I | re.S)
_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]*@", re.IGNORECASE)
_SCHEME = re.compile(r"\b(?P<scheme>Bearer|Basic)\s+\S+", re.IGNORECASE)
_QUERY = re.compile(
    rf"(?P<name>[?&;]{_SECRET_NAME}=)[^&;\s#]+",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """Take secrets out of one word of a command line, or of a variable's value."""
    assignment = _ASSIGNMENT.fullmatch(text)
    if assignment and "://" not in assignment["name"]:
        separator = text[len(assignment["name"])]
        return f"{assignment['name']}{separator}{REDACTED}"
    text = _USER_INFO.sub(rf"\g<scheme>{REDACTED}@", text)
    text = _QUERY.sub(rf"\g<name>{REDACTED}", text)
    return _SCHEME.sub(rf"\g<scheme> {REDACTED}", text)


def redact_command(command: Sequence[str]) -> list[str]:
    """Take secrets out of a command line, word by word."""
    redacted: list[str] = []
    follows_option = False
    for word in command:
        if follows_option and not word.startswith("-"):
            redacted.append(REDACTED)
        else:
            redacted.append(redact_text(word))
        follows_option = _OPTION.fullmatch(word) is not None
    return redacted


def redact_variable(name: str, value: str) -> str:
    """Take secrets out of an environment variable's value."""
    if re.fullmatch(_SECRET_NAME, name, re.IGNORECASE):
        return REDACTED
    return redact_text(value)


def redact_resource(attributes: Mapping[str, object]) -> dict[str, object]:
    """Take secrets out of a process's command line among resource attributes."""
    redacted = dict(attributes)
    words = attributes.get("process.command_args")
    if isinstance(words, list):
        redacted["process.command_args"] = redact_command([str(word) for word in words])
    line = attributes.get("process.command_line")
    if isinstance(line, str):
        redacted["process.command_line"] = " ".join(redact_command(line.split(" ")))
    return redacted
