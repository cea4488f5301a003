# SPDX-License-Identifier: Apache-2.0
"""Write the live heap as a pprof profile, for `go tool pprof` and its many kin.

The span stands in the labels of each sample: `-tagroot=entry,span` puts it at the
root of the flame graph. All processes are in one file, told apart by the label `pid`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from otel_memory.recording.export import (
    COMMENT,
    TYPE_PERIOD,
    TYPE_SAMPLES,
    TYPE_SPACE,
    Source,
    Table,
    complete_stacks,
    count,
    nanoseconds,
    source_of,
)
from otel_memory.recording.profile import Profile, Stack
from otel_memory.sites import Frame

_PACKAGE = "perftools.profiles"
# By message, its fields and their numbers; "*" marks what is repeated.
_MESSAGES = {
    "Profile": {
        "*ValueType sample_type": 1,
        "*Sample sample": 2,
        "*Mapping mapping": 3,
        "*Location location": 4,
        "*Function function": 5,
        "*string string_table": 6,
        "int64 time_nanos": 9,
        "int64 duration_nanos": 10,
        "ValueType period_type": 11,
        "int64 period": 12,
        "*int64 comment": 13,
        "int64 default_sample_type": 14,
    },
    "ValueType": {"int64 type": 1, "int64 unit": 2},
    "Sample": {"*uint64 location_id": 1, "*int64 value": 2, "*Label label": 3},
    "Label": {"int64 key": 1, "int64 str": 2, "int64 num": 3, "int64 num_unit": 4},
    "Mapping": {
        "uint64 id": 1,
        "int64 filename": 5,
        "bool has_functions": 7,
        "bool has_filenames": 8,
        "bool has_line_numbers": 9,
    },
    "Location": {"uint64 id": 1, "uint64 mapping_id": 2, "*Line line": 4},
    "Line": {"uint64 function_id": 1, "int64 line": 2},
    # Without a system name: where it is the name too, `go tool pprof` takes it for
    # C++, and `<module>` and `<lambda>` for template arguments, which it hides.
    "Function": {"uint64 id": 1, "int64 name": 2, "int64 filename": 4},
}

# By convention counts come first, and readers without a default take the last.
_SAMPLE_TYPES = (TYPE_SAMPLES, TYPE_SPACE)
# Some readers look into the mapping of every location.
_MAPPING_ID = 1
_MAPPING_FILE = "python"
_NOWHERE = Source("", "", 0)
# Readers print names by the line, and into terminals.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _profile_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="profile.proto", package=_PACKAGE, syntax="proto3"
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for declaration, number in fields.items():
            type_name, name = declaration.lstrip("*").split()
            field = message.field.add(name=name, number=number)
            repeated = declaration.startswith("*")
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if type_name in _MESSAGES:
                field.type = field.TYPE_MESSAGE
                field.type_name = f".{_PACKAGE}.{type_name}"
            else:
                field.type = field.Type.Value(f"TYPE_{type_name.upper()}")
    # A pool of our own: another library may have brought the same messages.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.Profile")
    return message_factory.GetMessageClass(descriptor)


_Profile = _profile_class()


def write_pprof(
    profiles: Sequence[Profile],
    file: BinaryIO,
    *,
    start_seconds: float,
    duration_seconds: float | None,
) -> None:
    """Write profiles as one gzip-compressed pprof profile.

    Args:
        profiles: The last one of each process.
        file: Where to write; stays open.
        start_seconds: When the recording began, in seconds since the epoch.
        duration_seconds: How long it took, if that is known.
    """
    builder = _Builder()
    for profile in profiles:
        builder.add(profile)
    message = builder.build(start_seconds, duration_seconds)
    # Without the time, so that the same profile gives the same file.
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(message.SerializeToString(deterministic=True))


class _Builder:
    """Makes one message; pprof's ids are numbers in tables, from 1 on."""

    def __init__(self) -> None:
        self._message = _Profile()
        self._strings = Table("")
        self._functions = Table(("", ""))
        self._locations = Table(_NOWHERE)
        self._rates_bytes: set[float | None] = set()
        self._known: dict[Frame, int] = {}

    def add(self, profile: Profile) -> None:
        """Add one process."""
        self._rates_bytes.add(profile.rate_bytes)
        for stack in complete_stacks(profile):
            values = {TYPE_SAMPLES: stack.samples, TYPE_SPACE: stack.live_bytes}
            self._message.sample.add(
                location_id=[self._location(frame) for frame in stack.frames],
                value=[count(values[sample_type]) for sample_type in _SAMPLE_TYPES],
                label=self._labels(stack, profile.pid),
            )

    def build(self, start_seconds: float, duration_seconds: float | None) -> Any:
        """Add what is not about one process, and the tables."""
        message = self._message
        for type_and_unit in _SAMPLE_TYPES:
            message.sample_type.add(**self._type(type_and_unit))
        message.default_sample_type = self._string(TYPE_SPACE[0])
        message.time_nanos = nanoseconds(start_seconds)
        message.duration_nanos = nanoseconds(duration_seconds)
        period_type = self._type(TYPE_PERIOD)
        message.period_type.type = period_type["type"]
        message.period_type.unit = period_type["unit"]
        if len(self._rates_bytes) == 1:
            message.period = count(*self._rates_bytes)
        message.comment.append(self._string(COMMENT))
        message.mapping.add(
            id=_MAPPING_ID,
            filename=self._string(_MAPPING_FILE),
            has_functions=True,
            has_filenames=True,
            has_line_numbers=True,
        )
        self._add_code()
        message.string_table.extend(self._strings)
        return message

    def _location(self, frame: Frame) -> int:
        # The same frames come again in most stacks.
        number = self._known.get(frame)
        if number is None:
            number = self._locations.number(source_of(frame))
            self._known[frame] = number
        return number

    def _add_code(self) -> None:
        for number, source in enumerate(self._locations):
            if number:
                function = self._functions.number((source.function, source.file))
                line = {"function_id": function, "line": source.line}
                self._message.location.add(
                    id=number, mapping_id=_MAPPING_ID, line=[line]
                )
        for number, (name, file) in enumerate(self._functions):
            if number:
                self._message.function.add(
                    id=number,
                    name=self._string(name),
                    filename=self._string(file),
                )

    def _labels(self, stack: Stack, pid: int | None) -> Iterator[dict[str, int]]:
        # Left out where empty: a label without a value is taken for the number 0.
        texts = {
            **stack.pair._asdict(),
            "trace_id": stack.trace_id,
            "span_id": stack.span_id,
        }
        for name, text in texts.items():
            if text:
                yield {"key": self._string(name), "str": self._string(text)}
        if pid is not None:
            yield {"key": self._string("pid"), "num": count(pid)}
        if stack.age_mean_seconds is not None:
            yield {
                "key": self._string("age_mean"),
                "num": count(stack.age_mean_seconds),
                "num_unit": self._string("seconds"),
            }

    def _type(self, type_and_unit: tuple[str, str]) -> dict[str, int]:
        name, unit = type_and_unit
        return {"type": self._string(name), "unit": self._string(unit)}

    def _string(self, text: str) -> int:
        return self._strings.number(_UNPRINTABLE.sub(_escaped, text))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
