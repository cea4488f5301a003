# SPDX-License-Identifier: Apache-2.0
"""Make a tree of the live heap: all, a span or entry name, frames from the outermost.

The sums agree with the tables: what a profile holds beyond the stacks that it lists,
and what is too small to be drawn, have nodes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple

from otel_memory.recording.export import OTHER_STACKS, complete_stacks
from otel_memory.recording.profile import PairKey, Profile, Stack
from otel_memory.semconv import ROW_BY_SORT
from otel_memory.sites import Frame, is_library, short_file

BY_SPAN = "span"
BY_ENTRY = "entry"

KIND_ALL = "all"
KIND_NAME = "name"  # of a span or an entry
KIND_SPECIAL = "special"  # a row that is nobody's span
KIND_OWN = "own"
KIND_LIBRARY = "library"
KIND_REST = "rest"  # what is not shown in more detail

# Below, a node is narrower than a pixel on any screen.
_SMALLEST_SHARE = 1 / 2000

_SMALLER = "(smaller)"
_IMPORT_SYSTEM = "<frozen importlib"


class _Key(NamedTuple):
    """What tells a node from its siblings."""

    kind: str
    label: str
    place: str = ""


_FRAMEWORK = _Key(KIND_REST, "(framework)")


@dataclass
class _Branch:
    """A node while the tree grows."""

    live_bytes: int = 0
    children: dict[_Key, _Branch] = field(default_factory=dict)
    skipped: set[int] = field(default_factory=set)

    def grow(self, path: Iterable[_Key], live_bytes: int) -> _Branch:
        """Add bytes to each node below this one; make those that are missing."""
        branch = self
        for key in path:
            branch = branch.children.setdefault(key, _Branch())
            branch.live_bytes += live_bytes
        return branch


class Node(NamedTuple):
    """One node of the finished tree.

    Attributes:
        parent: The index of its parent, or -1 for the first node.
        kind: One of `KIND_...`.
        label: The name of a span, an entry or a function.
        place: Where its line is, such as "shop/cache.py:60"; empty for a name.
        live_bytes: What it and all below it hold.
    """

    parent: int
    kind: str
    label: str
    place: str
    live_bytes: int


def flame_tree(profiles: Sequence[Profile], directory: str, *, by: str) -> list[Node]:
    """Make the tree.

    Args:
        profiles: The last profile of each process; their figures are added up.
        directory: Where the command was run; files below it are shown relative.
        by: `BY_SPAN` or `BY_ENTRY`: which names are below the root.

    Returns:
        Its nodes, parents before children and larger siblings before smaller ones;
        none if nothing is alive.
    """
    root = _Branch()
    top = _Key(KIND_ALL, "all")
    for profile in profiles:
        for stack in complete_stacks(profile):
            if stack.live_bytes > 0:
                names = [top, *_names(stack.pair, by)]
                branch = root.grow(names, stack.live_bytes)
                _grow_frames(branch, stack, directory)
    return _flatten(top, root.children[top]) if root.children else []


def _names(pair: PairKey, by: str) -> list[_Key]:
    """Name the levels above the frames; an entry's own span needs no second one."""
    special = ROW_BY_SORT.get(pair.sort)
    names = [pair.span, pair.entry] if by == BY_SPAN else [pair.entry, pair.span]
    first, second = (
        _Key(KIND_SPECIAL if name == special else KIND_NAME, name) for name in names
    )
    return [first] if first == second or not second.label else [first, second]


def _grow_frames(branch: _Branch, stack: Stack, directory: str) -> None:
    # An import is five frames of the import system for each that says something.
    told = [f for f in stack.frames if not f.file.startswith(_IMPORT_SYSTEM)]
    frames = (told or list(stack.frames))[::-1]
    # A server's own frames are the same for every request, and many.
    own = (index for index, frame in enumerate(frames) if not _is_library(frame))
    skipped = next(own, 0)
    if skipped > 1:
        branch = branch.grow([_FRAMEWORK], stack.live_bytes)
        branch.skipped.add(skipped)
        frames = frames[skipped:]
    branch.grow([_frame_key(frame, directory) for frame in frames], stack.live_bytes)


def _frame_key(frame: Frame, directory: str) -> _Key:
    if frame == OTHER_STACKS:
        return _Key(KIND_REST, frame.file)
    kind = KIND_LIBRARY if _is_library(frame) else KIND_OWN
    file = short_file(frame.file, directory)
    place = file if frame.line is None else f"{file}:{frame.line}"
    return _Key(kind, frame.function or PurePath(file).name, place)


def _is_library(frame: Frame) -> bool:
    # What has no line is no code of the user's either: "(native)".
    return frame.line is None or is_library(frame.file)


def _flatten(top: _Key, root: _Branch) -> list[Node]:
    nodes: list[Node] = []
    smallest_bytes = root.live_bytes * _SMALLEST_SHARE
    # Not recursive: a stack is as deep as the application makes it.
    waiting = [(-1, top, root)]
    while waiting:
        parent, key, branch = waiting.pop()
        label = _skipped_label(branch) if branch.skipped else key.label
        index = len(nodes)
        nodes.append(Node(parent, key.kind, label, key.place, branch.live_bytes))
        smaller_bytes = 0
        for child_key, child in sorted(
            branch.children.items(), key=lambda item: (item[1].live_bytes, item[0])
        ):
            # Names are listed to choose from, so each of them has a node.
            if child.live_bytes < smallest_bytes and index > 0:
                smaller_bytes += child.live_bytes
            else:
                waiting.append((index, child_key, child))
        if smaller_bytes:
            nodes.append(Node(index, KIND_REST, _SMALLER, "", smaller_bytes))
    return nodes


def _skipped_label(branch: _Branch) -> str:
    fewest, most = min(branch.skipped), max(branch.skipped)
    number = str(most) if fewest == most else f"{fewest} to {most}"
    return f"… {number} framework frames"
