"""The document's schema of a submission and what the server accepts are the same, in both directions."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api.openapi import document
from shared.api.spec import SubmitRequest
from shared.errors import InvalidArgument
from tests.submissions import bodies

SCHEMA = jsonschema_rs.validator_for(
    {"$ref": "#/components/schemas/SubmitRequest", "components": document()["components"]}
)


def accepted(body: object) -> bool:
    try:
        SubmitRequest.parse(json.dumps(body).encode())
    except InvalidArgument:
        return False
    return True


def said(body: object) -> bool:
    """Whether the schema allows it, as what arrives: JSON knows neither NaN nor Infinity."""
    try:
        return SCHEMA.is_valid(json.loads(json.dumps(body, allow_nan=False)))
    except ValueError:
        return False


@given(bodies)
def test_what_the_schema_allows_is_accepted(body: dict[str, Any]) -> None:
    assert said(body)
    assert accepted(body)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a body."""
    found = [path]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            found += places(inner, (*path, name))
    return found


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2)
    | st.sampled_from([10, 11, 20, 21, 100, 250, 1000, 1001, 65_536, 86_401, 10**7, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, 1.0, 1.5, 3.0, 99.0, 100.0, -0.0, 1e30]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(
        [
            *("x\n", "\n", "a b", "x" * 129, "AKIA" + "A" * 16, "/data\n", "/proc", "/a/..", "small", "spot"),
            *("projects/p/secrets/s/versions/1\n", "e2-micro", "inputs", "é", "A" * 65, "\0", "goog-x"),
        ]
    ),
    st.lists(st.none() | st.integers(0, 3) | st.text("ab", max_size=2), max_size=3),
    st.dictionaries(
        st.text("aA_-1é\n", max_size=3) | st.sampled_from(["JENNAH_X", "goog"]), st.text("ab", max_size=2)
    ),
)


@given(bodies, st.data())
def test_what_is_changed_anywhere_is_accepted_where_the_schema_allows_it(
    fields: dict[str, Any], data: st.DataObject
) -> None:
    body: Any = fields
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(body)))
        body = changed(body, path, data.draw(odd))
        if isinstance(body, dict) and data.draw(st.booleans()):
            name = data.draw(st.sampled_from([*SubmitRequest.model_fields, "service_account", "network"]))
            body = {**body, name: data.draw(odd)}
    assert said(body) == accepted(body), body


@pytest.mark.parametrize(
    "body",
    [
        {
            "image_uri": "a",
            "retry": {"rules": [{"action": "fail", "exit_codes": [1], "reasons": ["timeout"]}]},
        },
        {"image_uri": "a", "retry": {"rules": [{"action": "fail"}]}},
        {"image_uri": "a", "retry": {"rules": [{"action": "fail", "exit_codes": None, "reasons": None}]}},
        {"image_uri": "a", "retry": {"rules": [{"action": "fail", "exit_codes": [1], "reasons": None}]}},
        {"image_uri": "a", "retry": {"backoff": {"first_delay_seconds": 900, "max_delay_seconds": 1}}},
        {"image_uri": "a", "profile": "small", "machine_type": "e2-micro"},
        {"image_uri": "a", "profile": "small", "machine_type": None, "resources": None},
        {"image_uri": "a", "max_retries": 3.0},
        {"image_uri": "a", "max_retries": 3.5},
        {"image_uri": "a\n"},
        {"image_uri": "a", "env": {"A\n": ""}},
        {"image_uri": "a", "env": {"A": "\n"}},
        {"image_uri": "a", "env": {"A": "\0"}},
        {"image_uri": "a", "env": {"A": "AKIA" + "A" * 16}},
        {"image_uri": "a", "env": {"JENNAH_": ""}},
        {"image_uri": "a", "labels": {"googles": ""}},
        {"image_uri": "a", "mounts": [{"bucket": "inputs", "mount_path": "/dev/x"}]},
        {"image_uri": "a", "mounts": [{"bucket": "inputs", "mount_path": "/device"}] * 2},
        {"image_uri": "a", "name": "🙂" * 100},
        {"image_uri": "a", "name": "🙂" * 101},
        {"image_uri": "a", "service_account": "x@y.iam.gserviceaccount.com"},
        {},
        [],
        None,
    ],
    ids=lambda body: str(body)[:60],
)
def test_every_rule_across_fields_stands_in_the_schema(body: object) -> None:
    assert said(body) == accepted(body)
