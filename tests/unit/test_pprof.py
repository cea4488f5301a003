# SPDX-License-Identifier: Apache-2.0
"""A pprof file holds what the tables show; it is read here by a decoder of its own."""

from __future__ import annotations

import gzip
import io
from collections import defaultdict
from dataclasses import replace
from typing import NamedTuple

import pytest

from otel_memory.recording.pprof import write_pprof
from otel_memory.recording.profile import PairFigures, Stack
from otel_memory.sites import Frame

from . import export_cases as cases


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data):
    """Decode one message: the values of each field, by its number."""
    found = defaultdict(list)
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            assert key & 7 == 2, f"no wire type that pprof has: {key & 7}"
            size, at = varint(data, at)
            assert at + size <= len(data)
            value, at = data[at : at + size], at + size
        found[key >> 3].append(value)
    return found


def numbers(values):
    """Give the numbers of a repeated field, packed as proto3 has it."""
    found = []
    for data in values:
        at = 0
        while at < len(data):
            value, at = varint(data, at)
            found.append(value)
    return found


class Sample(NamedTuple):
    values: dict
    frames: list
    labels: dict


class Pprof:
    """A file as a reader sees it; every reference in it must lead somewhere."""

    def __init__(self, data):
        self.top = fields(gzip.decompress(data))
        self.strings = [text.decode("utf-8") for text in self.top[6]]
        self.types = [self.type(message) for message in self.top[1]]
        self.functions = self.by_id(5)
        self.locations = self.by_id(4)
        self.mappings = self.by_id(3)
        self.samples = [self.sample(fields(message)) for message in self.top[2]]

    def by_id(self, number):
        messages = [fields(message) for message in self.top[number]]
        found = {message[1][0]: message for message in messages}
        assert len(found) == len(messages)
        assert 0 not in found
        return found

    def text(self, message, number):
        return self.strings[message[number][0]] if number in message else ""

    def type(self, data):
        message = fields(data)
        return self.text(message, 1), self.text(message, 2)

    def frame(self, location_id):
        location = self.locations[location_id]
        assert location[2][0] in self.mappings
        (line,) = (fields(message) for message in location[4])
        function = self.functions[line[1][0]]
        return (
            self.text(function, 2),
            self.text(function, 4),
            line[2][0] if 2 in line else 0,
        )

    def label(self, data):
        message = fields(data)
        if 2 in message:
            assert not {3, 4} & set(message)
            return self.text(message, 1), self.text(message, 2)
        # A label with neither text, number nor unit would be lost.
        assert {3, 4} & set(message)
        number = message[3][0] if 3 in message else 0
        unit = self.text(message, 4)
        return self.text(message, 1), (number, unit) if unit else number

    def sample(self, message):
        labels = [self.label(data) for data in message[3]]
        assert len(dict(labels)) == len(labels)
        values = numbers(message[2])
        frames = [self.frame(number) for number in numbers(message[1])]
        return Sample(dict(zip(self.types, values, strict=True)), frames, dict(labels))

    def total(self, sample_type):
        return sum(sample.values[sample_type] for sample in self.samples)


SPACE = ("inuse_space", "bytes")
COUNT = ("samples", "count")


def written(*profiles, **options):
    file = io.BytesIO()
    options = {
        "start_seconds": cases.START_SECONDS,
        "duration_seconds": cases.DURATION_SECONDS,
        **options,
    }
    write_pprof(profiles, file, **options)
    return file.getvalue()


def pprof(*profiles, **options):
    return Pprof(written(*profiles, **options))


def the_sample(file, **labels):
    (sample,) = (s for s in file.samples if labels.items() <= s.labels.items())
    return sample


def test_the_types_and_the_default():
    file = pprof(cases.FIRST)
    # By convention counts come first.
    assert file.types == [COUNT, SPACE]
    assert file.text(file.top, 14) == "inuse_space"


def test_the_string_table_begins_with_the_empty_one_and_repeats_none():
    strings = pprof(cases.FIRST, cases.SECOND).strings
    assert strings[0] == ""
    assert len(set(strings)) == len(strings)


def test_totals_are_those_of_the_pairs():
    file = pprof(cases.FIRST, cases.SECOND)
    assert file.total(SPACE) == cases.live_bytes_of(cases.FIRST, cases.SECOND)
    assert file.total(COUNT) == 260 + 6 + 18 + 14


def test_a_stack_with_all_its_labels():
    sample = the_sample(pprof(cases.FIRST), trace_id=cases.TRACE_ID)
    assert sample.values == {SPACE: 100_000_000, COUNT: 200}
    assert sample.frames == [
        ("<lambda>", "/srv/shop/cache.py", 12),
        ("get_product_list", "/srv/shop/cache.py", 41),
        ("recommend", "/srv/shop/views.py", 7),
        ("<module>", "/srv/app.py", 10),
    ]
    assert sample.labels == {
        "span": "get_product_list",
        "kind": "INTERNAL",
        "entry": "GET /recommend",
        "sort": "span",
        "trace_id": cases.TRACE_ID,
        "span_id": cases.SPAN_ID,
        "pid": 17,
        "age_mean": (13, "seconds"),
    }


def test_what_is_unknown_has_no_label():
    sample = the_sample(pprof(cases.SECOND))
    assert set(sample.labels) == {"span", "kind", "entry", "sort", "pid"}


def test_an_age_of_less_than_a_second_is_kept():
    file = pprof(cases.FIRST)
    assert the_sample(file, age_mean=(0, "seconds")).values[SPACE] == 20_000_000


def test_a_stack_without_python_is_native():
    file = pprof(cases.FIRST)
    sample = the_sample(file, span="(import)", age_mean=(60, "seconds"))
    assert sample.frames == [("(native)", "", 0)]
    assert sample.values == {SPACE: 8_000_000, COUNT: 16}
    assert "kind" not in sample.labels


def test_what_pairs_hold_beyond_the_stacks_is_told():
    others = {
        sample.labels["span"]: sample.values
        for sample in pprof(cases.FIRST).samples
        if sample.frames == [("(other stacks)", "", 0)]
    }
    assert others == {
        "get_product_list": {SPACE: 10_000_000, COUNT: 20},
        "(import)": {SPACE: 1_000_000, COUNT: 2},
    }


def test_pairs_with_unknown_figures_add_nothing():
    pairs = {cases.PRODUCTS: PairFigures(), cases.RECOMMEND: PairFigures(1, 1, 0, 0)}
    file = pprof(replace(cases.SECOND, pairs=pairs))
    assert file.total(SPACE) == 7_000_000


def test_a_pair_may_hold_less_than_its_stacks():
    pairs = {cases.PRODUCTS: cases.figures(6_999_998, 14)}
    file = pprof(replace(cases.SECOND, pairs=pairs))
    assert [sample.values[SPACE] for sample in file.samples] == [7_000_000]


def test_what_is_empty_is_left_out():
    empty = Stack(cases.RECOMMEND, (cases.VIEW,), 0, 0)
    gc = Stack(cases.GC, (cases.VIEW,), 5, 1)
    assert pprof(cases.profile(17, {}, [empty, gc])).samples == []


def test_processes_are_told_apart():
    file = pprof(cases.FIRST, cases.SECOND)
    by_pid = defaultdict(int)
    for sample in file.samples:
        by_pid[sample.labels["pid"]] += sample.values[SPACE]
    assert by_pid == {17: 142_000_000, 18: 7_000_000}


def test_a_process_without_a_pid():
    sample = the_sample(pprof(replace(cases.SECOND, pid=None)))
    assert "pid" not in sample.labels


def test_processes_share_their_functions():
    file = pprof(cases.FIRST, cases.SECOND)
    names = [file.text(function, 2) for function in file.functions.values()]
    assert sorted(names) == sorted(set(names))


def test_functions_of_one_name_are_told_apart_by_their_files():
    one, two = Frame("/a.py", 1, "__init__"), Frame("/b.py", 1, "__init__")
    stack = Stack(cases.RECOMMEND, (one, two), 1, 1)
    assert len(pprof(cases.profile(1, {}, [stack])).functions) == 2


def test_no_function_has_a_system_name():
    # `go tool pprof` would take `<module>` for a template's argument, and hide it.
    assert all(3 not in function for function in pprof(cases.FIRST).functions.values())


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (Frame("?", None, None), ("?", "?", 0)),
        (Frame("", None, None), ("?", "", 0)),
        (Frame("<string>", 3, None), ("<string>", "<string>", 3)),
        (Frame("/a.py", -1, "f"), ("f", "/a.py", 0)),
        (Frame("/a.py", 10**400, "f"), ("f", "/a.py", 2**63 - 1)),
    ],
)
def test_frames_that_say_little(frame, expected):
    stack = Stack(cases.RECOMMEND, (frame,), 1, 1)
    (sample,) = pprof(cases.profile(1, {}, [stack])).samples
    assert sample.frames == [expected]


def test_the_mapping_says_that_nothing_is_left_to_look_up():
    (mapping,) = pprof(cases.FIRST).mappings.values()
    # Functions, file names and line numbers are known.
    assert [mapping[number] for number in (7, 8, 9)] == [[1], [1], [1]]


def test_times_period_and_comment():
    file = pprof(cases.FIRST, cases.SECOND)
    assert file.top[9] == [1_700_000_000_000_000_000]
    assert file.top[10] == [61_500_000_000]
    assert file.type(file.top[11][0]) == ("space", "bytes")
    assert file.top[12] == [524288]
    (comment,) = (file.strings[number] for number in numbers(file.top[13]))
    assert "estimated from samples by otel-memory" in comment


@pytest.mark.parametrize("rate_bytes", [None, 32768.0])
def test_processes_with_different_rates_have_no_common_period(rate_bytes):
    second = replace(cases.SECOND, rate_bytes=rate_bytes)
    assert 12 not in pprof(cases.FIRST, second).top


@pytest.mark.parametrize("seconds", [None, float("nan"), -5.0, 0.0])
def test_an_unknown_duration_is_unset(seconds):
    assert 10 not in pprof(cases.FIRST, duration_seconds=seconds).top


def test_no_profiles_make_an_empty_file():
    file = pprof()
    assert (file.samples, file.types) == ([], [COUNT, SPACE])


def test_the_same_profile_gives_the_same_bytes():
    data = written(cases.FIRST)
    assert data == written(cases.FIRST)
    # Nor does the header of gzip have a time or a name.
    assert data[3:8] == bytes(5)


@pytest.mark.parametrize(("text", "expected"), list(cases.ODD_TEXTS.items()))
def test_odd_texts_do_not_break_the_export(text, expected):
    file = pprof(cases.odd(text))
    listed, other = file.samples
    assert listed.frames == [(expected, expected, 1)]
    for sample in (listed, other):
        assert (sample.labels["span"], sample.labels["entry"]) == (expected, expected)
    assert file.total(SPACE) == 1_500
