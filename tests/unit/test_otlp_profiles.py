# SPDX-License-Identifier: Apache-2.0
"""OTLP profiles hold what the tables show, and obey the rules of the schema."""

from __future__ import annotations

import base64
import io
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from google.protobuf import json_format
from opentelemetry.proto.profiles.v1development import profiles_pb2

from otel_memory.errors import CommandError
from otel_memory.recording.otlp_profiles import write_otlp_profiles

from . import export_cases as cases

SPACE = ("inuse_space", "bytes")
COUNT = ("samples", "count")
TABLES = (
    "mapping_table",
    "location_table",
    "function_table",
    "link_table",
    "attribute_table",
    "stack_table",
)
STUBS = profiles_pb2.__name__


def written(*profiles, **options):
    file = io.BytesIO()
    options = {
        "start_seconds": cases.START_SECONDS,
        "duration_seconds": cases.DURATION_SECONDS,
        **options,
    }
    write_otlp_profiles(profiles, file, **options)
    return file.getvalue()


def message(*profiles, **options):
    data = written(*profiles, as_json=False, **options)
    return profiles_pb2.ProfilesData.FromString(data)


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(element) for element in value.array_value.values]
    return getattr(value, kind) if kind else None


class Reader:
    """Follows the references of one message."""

    def __init__(self, data):
        self.data = data
        self.tables = data.dictionary
        self.strings = list(data.dictionary.string_table)

    def type(self, value_type):
        return self.strings[value_type.type_strindex], self.strings[
            value_type.unit_strindex
        ]

    def attributes(self, holder):
        found = [self.tables.attribute_table[i] for i in holder.attribute_indices]
        keys = [self.strings[attribute.key_strindex] for attribute in found]
        assert len(set(keys)) == len(keys)
        assert "" not in keys
        values = (value_of(attribute.value) for attribute in found)
        return dict(zip(keys, values, strict=True))

    def frames(self, sample):
        locations = self.tables.stack_table[sample.stack_index].location_indices
        return [self.frame(self.tables.location_table[i]) for i in locations]

    def frame(self, location):
        (line,) = location.lines
        function = self.tables.function_table[line.function_index]
        return (
            self.strings[function.name_strindex],
            self.strings[function.filename_strindex],
            line.line,
            self.attributes(location).get("profile.frame.type"),
        )

    def link(self, sample):
        link = self.tables.link_table[sample.link_index]
        return link.trace_id.hex(), link.span_id.hex()

    def processes(self):
        for part in self.data.resource_profiles:
            pairs = ((a.key, value_of(a.value)) for a in part.resource.attributes)
            (scope,) = part.scope_profiles
            assert scope.scope.name == "otel_memory"
            yield dict(pairs), scope.profiles

    def samples(self, sample_type=SPACE):
        for _, profiles in self.processes():
            for profile in profiles:
                if self.type(profile.sample_type) == sample_type:
                    yield from profile.samples


def reader(*profiles, **options):
    return Reader(message(*profiles, **options))


def total(data, sample_type):
    return sum(value for s in data.samples(sample_type) for value in s.values)


def test_every_process_has_a_resource_and_a_profile_of_each_type():
    data = reader(cases.FIRST, cases.SECOND, resource={"service.name": "shop"})
    found = list(data.processes())
    assert [attributes for attributes, _ in found] == [
        {"service.name": "shop", "process.pid": 17},
        {"service.name": "shop", "process.pid": 18},
    ]
    for _, profiles in found:
        # Tools show the first.
        assert [data.type(p.sample_type) for p in profiles] == [SPACE, COUNT]


def test_number_0_of_each_table_is_the_zero_value():
    tables = message(cases.FIRST).dictionary
    assert tables.string_table[0] == ""
    for name in TABLES:
        zero = getattr(tables, name)[0]
        assert zero == type(zero)(), name
        assert zero.ByteSize() == 0, name


def test_tables_repeat_nothing():
    tables = message(cases.FIRST, cases.SECOND).dictionary
    for name in (*TABLES, "string_table"):
        rows = [str(row) for row in getattr(tables, name)]
        assert len(set(rows)) == len(rows), name


def test_totals_are_those_of_the_pairs():
    data = reader(cases.FIRST, cases.SECOND)
    expected = cases.live_bytes_of(cases.FIRST, cases.SECOND)
    assert total(data, SPACE) == expected
    assert total(data, COUNT) == 260 + 6 + 18 + 14


def test_a_sample_with_its_stack_attributes_and_link():
    data = reader(cases.FIRST)
    sample = next(data.samples())
    assert list(sample.values) == [100_000_000]
    assert data.frames(sample) == [
        ("<lambda>", "/srv/shop/cache.py", 12, "cpython"),
        ("get_product_list", "/srv/shop/cache.py", 41, "cpython"),
        ("recommend", "/srv/shop/views.py", 7, "cpython"),
        ("<module>", "/srv/app.py", 10, "cpython"),
    ]
    assert data.attributes(sample) == {
        "span.name": "get_product_list",
        "span.kind": "INTERNAL",
        "otel_memory.entry": "GET /recommend",
        "otel_memory.sort": "span",
    }
    assert data.link(sample) == (cases.TRACE_ID, cases.SPAN_ID)


def test_what_has_no_span_kind_has_no_such_attribute():
    data = reader(cases.FIRST)
    found = [data.attributes(sample) for sample in data.samples()]
    imports = [each for each in found if each["otel_memory.sort"] == "import"]
    assert len(imports) == 2
    assert all("span.kind" not in each for each in imports)


def test_samples_without_a_known_span_have_no_link():
    data = reader(cases.SECOND)
    assert [sample.link_index for sample in data.samples()] == [0]
    half = replace(cases.FIRST.stacks[0], span_id=None)
    data = reader(cases.profile(1, {}, [half]))
    assert [sample.link_index for sample in data.samples()] == [0]


def test_native_and_other_stacks():
    data = reader(cases.FIRST)
    found = {
        (data.attributes(sample)["span.name"], *data.frames(sample)[0]): sample.values[
            0
        ]
        for sample in data.samples()
        if len(data.frames(sample)) == 1
    }
    assert found == {
        ("(import)", "(native)", "", 0, "native"): 8_000_000,
        ("(import)", "(other stacks)", "", 0, None): 1_000_000,
        ("get_product_list", "(other stacks)", "", 0, None): 10_000_000,
    }


def test_no_two_samples_of_a_profile_are_the_same():
    for part in message(cases.FIRST, cases.SECOND).resource_profiles:
        for profile in part.scope_profiles[0].profiles:
            identities = [
                (s.stack_index, frozenset(s.attribute_indices), s.link_index)
                for s in profile.samples
            ]
            assert len(set(identities)) == len(identities)


def test_times_period_and_attributes():
    data = reader(cases.FIRST)
    for _, profiles in data.processes():
        for profile in profiles:
            assert profile.time_unix_nano == 1_700_000_000_000_000_000
            assert profile.duration_nano == 60_000_000_000
            assert data.type(profile.period_type) == ("space", "bytes")
            assert profile.period == 524288
            attributes = data.attributes(profile)
            assert attributes["otel_memory.profile.final"] is True
            (comment,) = attributes["pprof.profile.comment"]
            assert "estimated from samples by otel-memory" in comment


@pytest.mark.parametrize(
    ("duration_seconds", "expected"), [(61.5, 61_500_000_000), (None, 0)]
)
def test_a_profile_of_an_unknown_time(duration_seconds, expected):
    profile = replace(cases.SECOND, time_seconds=None, rate_bytes=None)
    data = reader(profile, duration_seconds=duration_seconds)
    ((_, (space, _)),) = data.processes()
    assert (space.duration_nano, space.period) == (expected, 0)


def test_a_process_that_holds_nothing_has_no_envelope():
    empty = replace(cases.SECOND, pairs={}, stacks=())
    assert not message(empty).resource_profiles


def test_resource_attributes_of_every_kind():
    resource = {
        "text": "shop \ud800",
        "flag": True,
        "number": -3,
        "huge": 10**30,
        "ratio": 0.5,
        "list": ["a", 1],
        "nothing": None,
    }
    data = reader(replace(cases.SECOND, pid=None), resource=resource)
    ((attributes, _),) = data.processes()
    expected = {"text": "shop \\ud800", "huge": str(10**30)}
    assert attributes == {**resource, **expected}


@pytest.mark.parametrize("text", list(cases.ODD_TEXTS))
def test_odd_texts_do_not_break_the_export(text):
    data = reader(cases.odd(text))
    expected = text.replace("\ud800", "\\ud800").replace("\udcff", "\\udcff")
    sample = next(data.samples())
    assert data.frames(sample) == [(expected, expected, 1, "cpython")]
    assert data.attributes(sample)["span.name"] == expected
    assert total(data, SPACE) == 1_500
    document = json.loads(written(cases.odd(text)))
    assert expected in document["dictionary"]["stringTable"]


def test_json_is_one_line_and_says_the_same():
    data = written(cases.FIRST, cases.SECOND)
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    document = json.loads(data)
    links = document["dictionary"]["linkTable"]
    # OTLP JSON writes ids in hexadecimal.
    assert links == [{}, {"traceId": cases.TRACE_ID, "spanId": cases.SPAN_ID}]
    for link in links:
        for name, value in link.items():
            link[name] = base64.b64encode(bytes.fromhex(value)).decode()
    parsed = json_format.ParseDict(document, profiles_pb2.ProfilesData())
    assert parsed == message(cases.FIRST, cases.SECOND)


def test_json_of_nothing():
    document = json.loads(written())
    assert "resourceProfiles" not in document


def test_missing_stubs_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, STUBS, None)
    with pytest.raises(CommandError, match="opentelemetry-proto has no profiles"):
        written(cases.FIRST)


@pytest.mark.parametrize(
    ("message_name", "field"), [("Sample", "values"), ("Stack", "location_indices")]
)
def test_another_schema_is_told(monkeypatch, message_name, field):
    known = dict(profiles_pb2.DESCRIPTOR.message_types_by_name)
    left = dict(known[message_name].fields_by_name)
    del left[field]
    known[message_name] = SimpleNamespace(fields_by_name=left)
    other = SimpleNamespace(DESCRIPTOR=SimpleNamespace(message_types_by_name=known))
    monkeypatch.setitem(sys.modules, STUBS, other)
    with pytest.raises(CommandError, match=f"without {message_name}.{field}$"):
        written(cases.FIRST)


def test_a_schema_without_a_message_is_told(monkeypatch):
    known = dict(profiles_pb2.DESCRIPTOR.message_types_by_name)
    del known["KeyValueAndUnit"]
    other = SimpleNamespace(DESCRIPTOR=SimpleNamespace(message_types_by_name=known))
    monkeypatch.setitem(sys.modules, STUBS, other)
    with pytest.raises(CommandError, match="without KeyValueAndUnit"):
        written(cases.FIRST)
