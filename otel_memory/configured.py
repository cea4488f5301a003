# SPDX-License-Identifier: Apache-2.0
"""Wrap the functions that `OTEL_PYTHON_MEMORY_FUNCTIONS` names, as they are imported."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from wrapt import register_post_import_hook

from otel_memory import _guard
from otel_memory.config import OTEL_PYTHON_MEMORY_FUNCTIONS, FunctionTarget
from otel_memory.functions import track_memory

_logger = logging.getLogger("otel_memory")


def _warn(target: FunctionTarget, problem: str) -> None:
    _logger.warning(
        "%s: %r: %s",
        OTEL_PYTHON_MEMORY_FUNCTIONS,
        f"{target.module}:{target.qualname}",
        problem,
    )


class ConfiguredFunctions:
    """The configured functions, each wrapped once its module is there."""

    def __init__(self, targets: Iterable[FunctionTarget]) -> None:
        self._targets = tuple(targets)
        self._seen: set[str] = set()
        # (owner, attribute, what was there): post-import hooks cannot be taken
        # back, so a stopped object must ignore them.
        self._wrapped: list[tuple[Any, str, Any]] = []
        self._stopped = False

    def start(self) -> None:
        """Wrap what is imported already, and the rest when it is."""
        for module in dict.fromkeys(target.module for target in self._targets):
            if module == "__main__":
                continue  # not filled yet; `close` says so
            register_post_import_hook(self._on_import, module)

    def _on_import(self, module: ModuleType) -> None:
        if self._stopped:
            return
        self._seen.add(module.__name__)
        for target in self._targets:
            if target.module == module.__name__:
                with _guard.guard("configured: wrap"):
                    self._wrap(module, target)

    def _wrap(self, module: ModuleType, target: FunctionTarget) -> None:
        *parents, last = target.qualname.split(".")
        owner: Any = module
        for parent in parents:
            owner = getattr(owner, parent, None)
        found = dict(_functions_of(owner, last, module.__name__))
        if not found:
            _warn(target, f"there is no such function in module {module.__name__}")
        for name, function in found.items():
            if any(owner is o and name == n for o, n, _ in self._wrapped):
                continue  # by an earlier entry
            self._wrapped.append((owner, name, function))
            setattr(owner, name, track_memory()(function))

    def close(self) -> None:
        """Put the functions back, and say which were never found."""
        self._stopped = True
        for owner, name, function in reversed(self._wrapped):
            setattr(owner, name, function)
        self._wrapped.clear()
        self.warn_of_unseen()

    def warn_of_unseen(self) -> None:
        """Say which modules were never imported: a wrong name looks just so."""
        for target in self._targets:
            if target.module == "__main__":
                _warn(
                    target,
                    "functions of the script itself are not wrapped; use "
                    "otel_memory.track_memory there",
                )
            elif target.module not in self._seen and target.module not in sys.modules:
                _warn(target, f"module {target.module} was never imported")


def _functions_of(owner: Any, name: str, module: str) -> Iterator[tuple[str, Any]]:
    """List the functions of a module or class by name; `*` is all of its own."""
    members = getattr(owner, "__dict__", {})
    names = [name] if name != "*" else list(members)
    for each in names:
        member = members.get(each)
        function = getattr(member, "__func__", member)  # static and class methods
        if not inspect.isroutine(function) or not hasattr(function, "__code__"):
            continue
        # `*` means what is defined there, not what is imported there.
        if name != "*" or function.__module__ == module:
            yield each, member
