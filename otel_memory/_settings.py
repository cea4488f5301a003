# SPDX-License-Identifier: Apache-2.0
"""Read the values of settings, from text or from an argument.

Each reader gives the value in its one right form, or raises `ValueError` that says
what is wrong, to be read after the setting's name and the value.
"""

from __future__ import annotations

import math
import os
import re
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from otel_memory import semconv
from otel_memory.units import MIB, parse_bytes, parse_percentage, parse_rate


def _signals() -> dict[str, int]:
    """List the signals that may ask for a profile, under their usual names first."""
    numbers = {name: getattr(signal, name, 0) for name in ("SIGUSR1", "SIGUSR2")}
    first, last = getattr(signal, "SIGRTMIN", 0), getattr(signal, "SIGRTMAX", -1)
    # Shells know the upper half by its distance to the end.
    middle = (first + last) // 2
    lower = [(f"SIGRTMIN+{n - first}", n) for n in range(first, last + 1)]
    upper = [(f"SIGRTMAX-{last - n}", n) for n in range(first, last + 1)]
    numbers.update({"SIGRTMIN": first, "SIGRTMAX": last})
    numbers.update([*lower[: middle - first + 1], *upper, *lower])
    return {name: number for name, number in numbers.items() if number}


SIGNALS = _signals()
"""Those that neither the kernel, nor a terminal, nor Python sends for reasons of its
own: SIGHUP and SIGWINCH come with terminals, SIGURG and SIGIO with sockets, SIGPROF
and SIGALRM with timers, and most others mean the end. Real-time signals have several
names; the first one is the one that `kill -l` shows."""


OFF = "off"
"""What switches off an alert that there is by default."""

_IN_BYTES = "; a number alone means bytes"


class FunctionTarget(NamedTuple):
    """A configured function; a qualified name that ends in `*` means all there."""

    module: str
    qualname: str


class Threshold(NamedTuple):
    """Memory from which on there is an alert: a share of the limit, or a size.

    Attributes:
        fraction: Of the limit; None for a size.
        size_bytes: None for a share.
    """

    fraction: float | None
    size_bytes: int | None


class PartlyWrong(ValueError):
    """Some entries of a list are wrong; the others can be kept."""

    def __init__(self, message: str, kept: tuple[object, ...]) -> None:
        super().__init__(message)
        self.kept = kept


_WRITTEN: dict[type, Callable[[Any], str]] = {
    bool: lambda value: str(value).lower(),
    int: lambda value: f"{value // MIB}MiB" if value >= MIB else str(value),
    float: "{:g}".format,
}


def written(default: object, empty: str) -> str:
    """Write a default as a user would; `empty` for None and an empty list."""
    if default is None or default == ():
        return empty
    return _WRITTEN.get(type(default), str)(default)


def unknown_arguments(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Say which arguments are unknown, which may be meant, and which there are."""
    from difflib import get_close_matches  # noqa: PLC0415 - only to say what is wrong

    meant = [
        near
        for name in unknown
        for near in (
            [each for each in known if each.startswith(name)]
            or get_close_matches(name, known, 1)
        )
    ]
    said = f"unknown argument{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}"
    said += f"; did you mean {', '.join(meant)}?" if meant else "."
    return f"{said} Arguments: {', '.join(known)}"


def boolean(value: object) -> bool:
    """Read true or false."""
    text = str(value).strip().lower()
    if not isinstance(value, bool | str) or text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


def source(value: object) -> str:
    """Read a heap source's name."""
    name = str(value).strip().lower()
    if name not in semconv.CHOOSABLE_SOURCES:
        raise ValueError(f"is not one of {', '.join(semconv.CHOOSABLE_SOURCES)}")
    return name


def seconds(value: object) -> float:
    """Read a number of seconds, 0 included."""
    number = math.nan
    with suppress(ValueError):  # Through text: float(True) would be 1 second.
        number = float(str(value))
    # Python cannot wait for longer than TIMEOUT_MAX; a NaN fails the comparison.
    if not 0 <= number <= threading.TIMEOUT_MAX:
        raise ValueError("is not a number of seconds")
    return number


def positive_seconds(value: object) -> float:
    """Read a number of seconds above 0."""
    number = seconds(value)
    if number == 0:
        raise ValueError("is not a number of seconds above 0")
    return number


def count(value: object) -> int:
    """Read a whole number of 0 or more."""
    text = str(value).strip()
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError("is not a whole number of 0 or more")
    return int(text)


def size(value: object) -> int:
    """Read a size, 0 included, and give it in bytes."""
    if isinstance(value, str | int):
        with suppress(ValueError):
            return parse_bytes(str(value))
    raise ValueError("is not a size, such as 8MiB")


def limit(value: object) -> int | None:
    """Read a size of at least 1 MiB, or None: who writes 512 means 512MiB."""
    if value is None:
        return None
    limit_bytes = 0
    with suppress(ValueError):
        limit_bytes = size(value)
    if limit_bytes < MIB:
        raise ValueError(f"is not a size of at least 1MiB, such as 512MiB{_IN_BYTES}")
    return limit_bytes


def parsed_threshold(text: str) -> Threshold | None:
    """Read a share or a size; None for `off`.

    Raises:
        ValueError: It is neither, more than the limit itself, or less than any
            process takes: who writes 80 means 80%.
    """
    if text == OFF:
        return None
    if "%" in text:
        fraction = parse_percentage(text)
        if not 0 < fraction <= 1:
            raise ValueError(f"{text!r} is not between 0% and 100%")
        return Threshold(fraction, None)
    size_bytes = parse_bytes(text)
    if size_bytes < MIB:
        raise ValueError(f"{text!r} is less than 1MiB")
    return Threshold(None, size_bytes)


def threshold(value: object) -> str:
    """Read a threshold of memory, and give its text."""
    text = str(value).strip()
    text = OFF if text.lower() == OFF else text
    if isinstance(value, str | int) and not isinstance(value, bool):
        with suppress(ValueError):
            parsed_threshold(text)
            return text
    raise ValueError(
        "is neither a share of the limit, such as 80%, nor a size of at least 1MiB, "
        f"such as 2GiB{_IN_BYTES}"
    )


def rate(value: object) -> float | None:
    """Read growth above 0, in bytes per hour; or None."""
    if value is None or str(value).strip().lower() == OFF:
        return None
    number = math.nan
    with suppress(ValueError):
        if isinstance(value, str):
            number = parse_rate(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
    if not 0 < number < math.inf:
        raise ValueError("is not growth above 0, such as 50MiB/h")
    return number


def handlers(value: object) -> tuple[str | Callable[..., object], ...]:
    """Read functions or their names; those that can be called, can be kept."""
    found: Any = (value,) if callable(value) else value
    if isinstance(found, str):
        found = entries(found)
    if not isinstance(found, list | tuple):
        raise ValueError("is not a list")
    wrong = [handler for handler in found if not _is_handler(handler)]
    if wrong:
        raise PartlyWrong(
            f"has entries that are not module:function: {', '.join(map(repr, wrong))}",
            tuple(handler for handler in found if handler not in wrong),
        )
    return tuple(found)


def _is_handler(value: object) -> bool:
    if not isinstance(value, str):
        return callable(value)
    target = function_target(value)
    return target is not None and "*" not in target.qualname


def entries(value: object) -> tuple[str, ...]:
    """Read a list: entries separated by commas, or a sequence of them."""
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list | tuple | set | frozenset):
        raise ValueError("is not a list")
    if not all(isinstance(entry, str) for entry in found):
        raise ValueError("is not a list of texts")
    return tuple(entry.strip() for entry in found if entry.strip())


def kinds(value: object) -> tuple[str, ...]:
    """Read a list of span kinds."""
    found = tuple(dict.fromkeys(kind.upper() for kind in entries(value)))
    if not set(found) <= set(semconv.SPAN_KINDS):
        raise ValueError(f"is not a list of {', '.join(semconv.SPAN_KINDS)}")
    return found


def function_target(entry: str) -> FunctionTarget | None:
    """Split `module:qualified.name`; None where it is not that."""
    module, _, qualname = (part.strip() for part in entry.partition(":"))
    *parents, last = qualname.split(".")
    names = [*module.split("."), *parents, "_" if last == "*" else last]
    well_formed = all(name.isidentifier() for name in names)
    return FunctionTarget(module, qualname) if well_formed else None


def functions(value: object) -> tuple[str, ...]:
    """Read a list of functions; those that are well-formed can be kept."""
    found = entries(value)
    wrong = [entry for entry in found if not function_target(entry)]
    if wrong:
        raise PartlyWrong(
            f"has entries that are not module:function: {', '.join(map(repr, wrong))}",
            tuple(entry for entry in found if entry not in wrong),
        )
    return found


def directory(value: object) -> str | None:
    """Read a directory's path, or None. Whether it exists is seen when it is used."""
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("is not the path of a directory")
    return path


def signal_name(value: object) -> str | None:
    """Read a signal that a profile may be asked for with, or None.

    Args:
        value: As `SIGUSR2`, `USR2`, `SIGRTMIN+3` or a number.

    Returns:
        Its usual name, a key of `SIGNALS`.
    """
    if value is None:
        return None
    text = "" if isinstance(value, bool) else str(value).strip().upper()
    if isinstance(value, signal.Signals):
        text = str(int(value))  # Its text is another one in each minor version.
    number = SIGNALS.get(text) or SIGNALS.get(f"SIG{text}")
    if re.fullmatch("[0-9]{1,3}", text):
        number = int(text)
    for name, known in SIGNALS.items():
        if known == number:
            return name
    raise ValueError("is not SIGUSR1, SIGUSR2 or one of SIGRTMIN to SIGRTMAX")
