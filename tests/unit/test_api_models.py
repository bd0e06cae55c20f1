"""The request of a submission: each limit at its edge, strict types, and a digest that means the request."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api import SubmitRequest
from shared.errors import InvalidArgument
from shared.model import JobSpec

LEAST = {"image_uri": "busybox"}
FULL: dict[str, Any] = {
    "image_uri": "europe-docker.pkg.dev/p/r/i@sha256:00",
    "commands": ["sh", "-c", "é \n $X"],
    "name": "nightly",
    "env": {"_A1": "é\n", "PATH": ""},
    "max_retries": 0,
    "timeout_seconds": 60,
}

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
requests = st.fixed_dictionaries(
    {"image_uri": st.from_regex(r"[a-z0-9./:@-]{1,30}", fullmatch=True)},
    optional={
        "commands": st.lists(texts, max_size=4),
        "name": st.none() | texts.filter(bool),
        "env": st.dictionaries(
            st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), texts, max_size=4
        ),
        "max_retries": st.integers(0, 10),
        "timeout_seconds": st.integers(1, 1_209_600),
    },
)


def parse(fields: object) -> SubmitRequest:
    return SubmitRequest.parse(json.dumps(fields).encode())


def refusal(body: bytes | dict[str, Any]) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        SubmitRequest.parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    first = caught.value.details[0]
    assert caught.value.message == f"{first['field']}: {first['reason']}"
    return caught.value


def field(body: bytes | dict[str, Any]) -> str:
    """The field that the refusal names."""
    return str(refusal(body).details[0]["field"])


def test_a_request_is_kept_as_it_was_sent() -> None:
    request = parse(FULL)
    assert request.model_dump() == FULL
    assert request.spec() == JobSpec(name="nightly", env=FULL["env"], timeout_seconds=60)


def test_everything_but_the_image_has_a_default() -> None:
    request = parse(LEAST)
    assert (request.commands, request.name, request.env) == ([], None, {})
    assert (request.max_retries, request.timeout_seconds) == (3, 3600)


@pytest.mark.parametrize(
    ("edge", "beyond", "named"),
    [
        ({"image_uri": "x"}, {"image_uri": ""}, "image_uri"),
        ({"image_uri": "x" * 1024}, {"image_uri": "x" * 1025}, "image_uri"),
        ({"commands": []}, {"commands": None}, "commands"),
        ({"commands": ["x"] * 100}, {"commands": ["x"] * 101}, "commands"),
        ({"commands": ["", "é" * 16_384]}, {"commands": ["", "é" * 16_385]}, "commands[1]"),
        ({"name": "x"}, {"name": ""}, "name"),
        ({"name": "é" * 100}, {"name": "é" * 101}, "name"),
        ({"env": {f"A{i}": "" for i in range(100)}}, {"env": {f"A{i}": "" for i in range(101)}}, "env"),
        ({"env": {"A": "x" * 32_768}}, {"env": {"A": "x" * 32_769}}, "env.A"),
        ({"env": {"A" * 128: ""}}, {"env": {"A" * 129: ""}}, "env"),
        ({"env": {"JENNAH": "", "BATCH": ""}}, {"env": {"JENNAH_": ""}}, "env"),
        ({"env": {"batch_x": ""}}, {"env": {"BATCH_TASK_INDEX": ""}}, "env"),
        ({"env": {"_": ""}}, {"env": {"": ""}}, "env"),
        ({"max_retries": 0}, {"max_retries": -1}, "max_retries"),
        ({"max_retries": 10}, {"max_retries": 11}, "max_retries"),
        ({"timeout_seconds": 1}, {"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": 1_209_600}, {"timeout_seconds": 1_209_601}, "timeout_seconds"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_every_limit_at_its_edge(edge: dict[str, Any], beyond: dict[str, Any], named: str) -> None:
    parse({**LEAST, **edge})
    assert field({**LEAST, **beyond}) == named


@pytest.mark.parametrize("value", [True, False, 3.0, 3.5, "3", None, [3], {}, 10**30])
@pytest.mark.parametrize("name", ["max_retries", "timeout_seconds"])
def test_only_a_whole_number_is_a_number(name: str, value: object) -> None:
    assert field({**LEAST, name: value}) == name


@pytest.mark.parametrize("number", ["1e0", "1E2", "NaN", "Infinity", "-Infinity", "1e400"])
def test_spellings_of_numbers_that_are_no_integers(number: str) -> None:
    assert field(f'{{"image_uri": "x", "max_retries": {number}}}'.encode()) == "max_retries"


@pytest.mark.parametrize("value", [5, True, None, ["x"], {}])
def test_only_a_string_is_a_string(value: object) -> None:
    assert field({"image_uri": value}) == "image_uri"
    assert field({**LEAST, "commands": ["a", "b", "c", value]}) == "commands[3]"
    assert field({**LEAST, "env": {"A": "", "NAME": value}}) == "env.NAME"
    if value is not None:
        assert field({**LEAST, "name": value}) == "name"


@pytest.mark.parametrize("value", ["sh -c true", {"0": "sh"}, 5, True, None])
def test_commands_are_a_list(value: object) -> None:
    assert field({**LEAST, "commands": value}) == "commands"


@pytest.mark.parametrize("value", [["A=1"], "A=1", 5, True, None])
def test_env_is_an_object(value: object) -> None:
    assert field({**LEAST, "env": value}) == "env"


@pytest.mark.parametrize(
    "name", ["1A", "A-B", "A B", "A=B", "é", "A\n", "A\0", "JENNAH_JOB_ID", "BATCH_JOB_UID"]
)
def test_env_names_are_those_of_shells_and_not_ours(name: str) -> None:
    assert field({**LEAST, "env": {name: "x"}}) == "env"


@pytest.mark.parametrize(
    "image", [" x", "x ", "a b", "a\tb", "a\nb", "a\0b", "a\u2028b", "a\u00a0b", "a\u200bb"]
)
def test_an_image_has_no_space_and_no_control(image: str) -> None:
    assert field({"image_uri": image}) == "image_uri"


def test_nul_is_refused_everywhere() -> None:
    assert field({**LEAST, "commands": ["a", "b\0"]}) == "commands[1]"
    assert field({**LEAST, "name": "\0"}) == "name"
    assert field({**LEAST, "env": {"NAME": "\0"}}) == "env.NAME"


@pytest.mark.parametrize("where", ['"image_uri": "%s"', '"image_uri": "x", "name": "%s"'])
@pytest.mark.parametrize("surrogate", [r"\ud800", r"\udfff", r"\udfff\ud800"])
def test_lone_surrogates_are_no_text(where: str, surrogate: str) -> None:
    assert field(("{" + where % surrogate + "}").encode()) == "body"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"5",
        b"image_uri=x",
        b'{"image_uri": "x"} x',
        b"{'image_uri': 'x'}",
        b'{"image_uri": "\xff"}',
        b'{"image_uri": "x\n"}',
        b"[" * 200_000,
        b'{"name":' * 50_000,
        b'{"image_uri": "x", "max_retries": ' + b"9" * 5000 + b"}",
        '{"image_uri": "x"}'.encode("utf-16"),
    ],
    ids=lambda body: str(body[:30]),
)
def test_what_is_no_json_object_is_named_body(body: bytes) -> None:
    assert field(body) == "body"


@pytest.mark.parametrize("name", ["tenant_id", "Image_uri", "job_id", "service_account", "image_uri "])
def test_an_unknown_field_is_named(name: str) -> None:
    assert field({**LEAST, name: "x"}) == name


def test_a_refusal_does_not_grow_with_the_request() -> None:
    refused = refusal({**LEAST, **{f"{i}{'x' * 2000}": i for i in range(100)}})
    assert len(json.dumps(refused.details)) < 5000


def test_all_that_is_wrong_is_listed() -> None:
    details = refusal({"image_uri": "", "commands": [1], "max_retries": 11}).details
    assert [problem["field"] for problem in details] == ["image_uri", "commands[0]", "max_retries"]
    assert [problem["reason"] for problem in details] == [
        "must have at least 1 character",
        "must be a string",
        "must be at most 10",
    ]


def spelled(fields: dict[str, Any], source: random.Random) -> bytes:
    """The same request, with its JSON written otherwise."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            source.shuffle(items)
            return {name: shuffled(inner) for name, inner in items}
        return value

    text = json.dumps(
        shuffled(fields), ensure_ascii=source.random() < 0.5, indent=source.choice([None, 0, 3])
    )
    return text.encode()


@given(requests, st.randoms(use_true_random=False))
def test_equal_requests_have_one_digest_however_spelled(
    fields: dict[str, Any], source: random.Random
) -> None:
    request = parse(fields)
    assert SubmitRequest.parse(spelled(fields, source)).digest() == request.digest()
    # What is left out is what the default says.
    assert parse(request.model_dump()).digest() == request.digest()
    assert len(request.digest()) == 64


@given(requests, requests)
def test_other_requests_have_other_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = parse(one), parse(other)
    assert (first.digest() == second.digest()) == (first == second)


@given(requests, st.data())
def test_any_change_changes_the_digest(fields: dict[str, Any], data: st.DataObject) -> None:
    request = parse(fields)
    name = data.draw(st.sampled_from(list(request.model_dump())))
    changed = parse({**request.model_dump(), name: FULL[name]})
    assert (changed.digest() == request.digest()) == (changed == request)


def test_the_order_of_commands_is_part_of_the_request() -> None:
    assert (
        parse({**LEAST, "commands": ["a", "b"]}).digest() != parse({**LEAST, "commands": ["b", "a"]}).digest()
    )
    assert parse({**LEAST, "commands": ["ab"]}).digest() != parse({**LEAST, "commands": ["a", "b"]}).digest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(FULL)) | st.text(), json_values, max_size=4))
def test_any_json_is_a_request_or_names_a_field(fields: dict[str, Any]) -> None:
    try:
        parse(fields).digest()
    except InvalidArgument:
        refused = refusal(fields)
        json.dumps([refused.message, refused.details], ensure_ascii=False).encode()  # as it is answered


@given(st.binary())
def test_any_bytes_are_a_request_or_name_a_field(body: bytes) -> None:
    field(body)
