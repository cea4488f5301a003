# SPDX-License-Identifier: Apache-2.0
"""Write the live heap as OpenTelemetry profiles. Experimental, as the signal is.

The schema still changes between versions of opentelemetry-proto. It is taken from
the one that is installed, and one that has other fields is refused.
"""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

from google.protobuf import json_format

from otel_memory.errors import CommandError
from otel_memory.recording.export import (
    COMMENT,
    OTHER_STACKS,
    TYPE_PERIOD,
    TYPE_SAMPLES,
    TYPE_SPACE,
    Table,
    complete_stacks,
    count,
    nanoseconds,
    source_of,
    utf8,
)
from otel_memory.recording.otlp import PID_ATTRIBUTE
from otel_memory.recording.profile import Profile, Stack
from otel_memory.semconv import (
    ATTR_PROFILE_FINAL,
    SCOPE_NAME,
    SPAN_ROW_ATTRIBUTES,
)
from otel_memory.sites import NATIVE, Frame

_STUBS = "opentelemetry.proto.profiles.v1development.profiles_pb2"
# What is written, by message.
_FIELDS = {
    f"{message}.{field}"
    for message, fields in {
        "ProfilesData": "resource_profiles dictionary",
        "ProfilesDictionary": "mapping_table location_table function_table link_table "
        "string_table attribute_table stack_table",
        "ResourceProfiles": "resource scope_profiles",
        "ScopeProfiles": "scope profiles",
        "Profile": "sample_type samples time_unix_nano duration_nano period_type "
        "period attribute_indices",
        "ValueType": "type_strindex unit_strindex",
        "Sample": "stack_index values attribute_indices link_index",
        "Link": "trace_id span_id",
        "Stack": "location_indices",
        "Location": "lines attribute_indices",
        "Line": "function_index line",
        "Function": "name_strindex filename_strindex",
        "KeyValueAndUnit": "key_strindex value",
    }.items()
    for field in fields.split()
}

# As the semantic conventions call them.
_ATTR_FRAME_TYPE = "profile.frame.type"
_ATTR_COMMENT = "pprof.profile.comment"
_FRAME_TYPE_PYTHON = "cpython"
_FRAME_TYPES = {NATIVE: "native", OTHER_STACKS: ""}


class _Location(NamedTuple):
    function: int
    line: int
    attributes: tuple[int, ...]


def write_otlp_profiles(
    profiles: Sequence[Profile],
    file: BinaryIO,
    *,
    start_seconds: float,
    duration_seconds: float | None,
    resource: Mapping[str, Any] | None = None,
    as_json: bool = True,
) -> None:
    """Write profiles as one `ProfilesData` message.

    Args:
        profiles: The last one of each process; each gets a resource of its own.
        file: Where to write; stays open.
        start_seconds: When the recording began, in seconds since the epoch.
        duration_seconds: How long it took, if that is known. A profile that says
            when it was taken ends there.
        resource: What is known of every process, such as `service.name`.
        as_json: One line of OTLP JSON, or else binary protobuf.

    Raises:
        CommandError: The installed opentelemetry-proto has another schema.
    """
    builder = _Builder(load_stubs(), start_seconds, duration_seconds)
    for profile in profiles:
        builder.add(profile, resource or {})
    message = builder.build()
    file.write(_to_json(message) if as_json else message.SerializeToString())


def load_stubs() -> ModuleType:
    """Import the classes of the messages, and look whether they fit.

    Raises:
        CommandError: There are none, or they have other fields.
    """
    try:
        stubs = importlib.import_module(_STUBS)
    except ImportError:
        raise _unfit("has no profiles") from None
    known = {
        f"{name}.{field}"
        for name, message in stubs.DESCRIPTOR.message_types_by_name.items()
        for field in message.fields_by_name
    }
    missing = sorted(_FIELDS - known)
    if missing:
        raise _unfit(f"has another schema of profiles, without {missing[0]}")
    return stubs


def _unfit(what: str) -> CommandError:
    return CommandError(
        f"cannot write OTLP profiles: the installed opentelemetry-proto {what}"
    )


def _to_json(message: Any) -> bytes:
    document = json_format.MessageToDict(message)
    # OTLP JSON writes ids in hexadecimal, and protobuf in base64.
    for link in document["dictionary"]["linkTable"]:
        for name, value in link.items():
            link[name] = base64.b64decode(value).hex()
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


class _Builder:
    """Makes one message; number 0 of each table is the zero value."""

    def __init__(
        self, stubs: Any, start_seconds: float, duration_seconds: float | None
    ) -> None:
        self._message = stubs.ProfilesData()
        self._start_nanoseconds = nanoseconds(start_seconds)
        self._duration_nanoseconds = nanoseconds(duration_seconds)
        self._strings = Table("")
        self._functions = Table((0, 0))
        self._locations = Table(_Location(0, 0, ()))
        self._stacks: Table[tuple[int, ...]] = Table(())
        self._links = Table((b"", b""))
        self._attributes: Table[tuple[int, Any]] = Table((0, None))
        self._known: dict[Frame, int] = {}

    def add(self, profile: Profile, resource: Mapping[str, Any]) -> None:
        """Add one process; nothing for one that holds nothing."""
        stacks = list(complete_stacks(profile))
        if not stacks:
            return
        part = self._message.resource_profiles.add()
        attributes = dict(resource)
        if profile.pid is not None:
            attributes[PID_ATTRIBUTE] = profile.pid
        for key, value in attributes.items():
            _write_value(part.resource.attributes.add(key=utf8(key)).value, value)
        scope = part.scope_profiles.add()
        scope.scope.name = SCOPE_NAME
        samples = [self._sample(stack) for stack in stacks]
        # Each type is a profile of its own. Tools show the first.
        for sample_type, values in {
            TYPE_SPACE: [stack.live_bytes for stack in stacks],
            TYPE_SAMPLES: [stack.samples for stack in stacks],
        }.items():
            message = scope.profiles.add()
            self._describe(message, profile, sample_type)
            for sample, value in zip(samples, values, strict=True):
                message.samples.add(values=[count(value)], **sample)

    def _sample(self, stack: Stack) -> dict[str, Any]:
        attributes = zip(SPAN_ROW_ATTRIBUTES, stack.pair, strict=True)
        locations = tuple(self._location(frame) for frame in stack.frames)
        return {
            "stack_index": self._stacks.number(locations),
            "attribute_indices": [
                self._attribute(key, value) for key, value in attributes if value
            ],
            "link_index": self._link(stack),
        }

    def _describe(
        self, message: Any, profile: Profile, sample_type: tuple[str, str]
    ) -> None:
        self._write_type(message.sample_type, sample_type)
        self._write_type(message.period_type, TYPE_PERIOD)
        message.period = count(profile.rate_bytes)
        message.time_unix_nano = self._start_nanoseconds
        message.duration_nano = self._duration_of(profile)
        message.attribute_indices.extend(
            self._attribute(key, value)
            for key, value in (
                (ATTR_PROFILE_FINAL, profile.is_final),
                (_ATTR_COMMENT, (COMMENT,)),
            )
        )

    def _duration_of(self, profile: Profile) -> int:
        end_nanoseconds = nanoseconds(profile.time_seconds)
        since_start = end_nanoseconds - self._start_nanoseconds
        return since_start if since_start > 0 else self._duration_nanoseconds

    def _location(self, frame: Frame) -> int:
        # The same frames come again in most stacks.
        number = self._known.get(frame)
        if number is None:
            number = self._locations.number(self._read_location(frame))
            self._known[frame] = number
        return number

    def _read_location(self, frame: Frame) -> _Location:
        source = source_of(frame)
        function = (self._string(source.function), self._string(source.file))
        frame_type = _FRAME_TYPES.get(frame, _FRAME_TYPE_PYTHON)
        attributes = (
            (self._attribute(_ATTR_FRAME_TYPE, frame_type),) if frame_type else ()
        )
        return _Location(self._functions.number(function), source.line, attributes)

    def _link(self, stack: Stack) -> int:
        if not stack.trace_id or not stack.span_id:
            return 0
        link = bytes.fromhex(stack.trace_id), bytes.fromhex(stack.span_id)
        return self._links.number(link)

    def _attribute(self, key: str, value: Any) -> int:
        return self._attributes.number((self._string(key), value))

    def _string(self, text: str) -> int:
        return self._strings.number(utf8(text))

    def _write_type(self, message: Any, type_and_unit: tuple[str, str]) -> None:
        name, unit = type_and_unit
        message.type_strindex = self._string(name)
        message.unit_strindex = self._string(unit)

    def build(self) -> Any:
        """Write the tables."""
        dictionary = self._message.dictionary
        dictionary.mapping_table.add()
        dictionary.string_table.extend(self._strings)
        for name, file in self._functions:
            dictionary.function_table.add(name_strindex=name, filename_strindex=file)
        for function, line, attributes in self._locations:
            location = dictionary.location_table.add(attribute_indices=attributes)
            if function:
                location.lines.add(function_index=function, line=line)
        for locations in self._stacks:
            dictionary.stack_table.add(location_indices=locations)
        for trace_id, span_id in self._links:
            dictionary.link_table.add(trace_id=trace_id, span_id=span_id)
        for key, value in self._attributes:
            attribute = dictionary.attribute_table.add(key_strindex=key)
            _write_value(attribute.value, value)
        return self._message


def _write_value(message: Any, value: Any) -> None:
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int) and abs(value) < 2**63:
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, (list, tuple)):
        for element in value:
            _write_value(message.array_value.values.add(), element)
    elif value is not None:
        message.string_value = utf8(str(value))
