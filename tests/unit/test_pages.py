"""Page tokens: they lead back to their place in their own query, and nothing else is taken for one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.errors import InvalidArgument
from shared.pages import decode_token, encode_token

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

texts = st.text(st.characters(exclude_categories=["C", "Z"]))
positions = st.lists(texts, min_size=1, max_size=3)
queries = st.tuples(texts, texts | st.none())


@given(positions, queries)
def test_a_token_leads_back(position: list[str], query: tuple[str, str | None]) -> None:
    token = encode_token(position, query=query)
    assert decode_token(token, query=query, size=len(position)) == position
    assert set(token) <= set(ALPHABET)  # it goes into a URL as it is


@given(positions, queries, queries)
@example(["x"], ("jobs", "None"), ("jobs", None))
@example(["x"], ("ab", "c"), ("a", "bc"))
def test_a_token_of_another_tenant_or_query_is_refused(
    position: list[str], query: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    assume(query != other)
    token = encode_token(position, query=query)
    with pytest.raises(InvalidArgument, match="page_token: belongs to another query"):
        decode_token(token, query=other, size=len(position))


@given(positions, st.integers(1, 4))
def test_a_token_of_another_listing_is_refused(position: list[str], size: int) -> None:
    assume(size != len(position))
    with pytest.raises(InvalidArgument, match="page_token"):
        decode_token(encode_token(position, query=("q",)), query=("q",), size=size)


@given(positions, st.data())
def test_a_changed_token_is_refused_or_of_the_same_query(position: list[str], data: st.DataObject) -> None:
    token = encode_token(position, query=("q",))
    at = data.draw(st.integers(0, len(token)))
    changed = token[:at] + data.draw(st.text(ALPHABET + "=+/ é\0", max_size=3)) + token[at + 1 :]
    with contextlib.suppress(InvalidArgument):
        found = decode_token(changed, query=("q",), size=len(position))
        assert all(text.isprintable() for text in found)


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
@example("")
@example("\ud800")
@example("A" * 100_001)
@example(base64.urlsafe_b64encode(b"[" * 100_000).decode())
@example(base64.urlsafe_b64encode(b"9" * 5_000).decode())
@example(base64.urlsafe_b64encode(b"[1,2]").decode())
@example(base64.urlsafe_b64encode(b"\xff\xfe").decode())
def test_garbage_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token: is not a token of this API"):
        decode_token(token, query=("q",), size=1)


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "\n", "\u2028", 5, None, ["x"], {}])
def test_a_made_up_token_holds_only_what_a_database_takes(text: object) -> None:
    fingerprint = hashlib.sha256(json.dumps(["q"]).encode()).hexdigest()[:16]
    made = base64.urlsafe_b64encode(json.dumps([fingerprint, text]).encode()).decode()
    with pytest.raises(InvalidArgument, match="page_token"):
        decode_token(made, query=("q",), size=1)
