"""What job files mean: YAML by the core schema of version 1.2, and JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jennah import core_yaml

if TYPE_CHECKING:
    from tests.unit.conftest import ScriptedServer

Here = Callable[..., subprocess.CompletedProcess[str]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            (word, word)
            for word in ("on", "Off", "yes", "NO", "y", "N", "=", "1_000", "12:30", "0b1", "+0x1")
        ),
        *((word, word) for word in ("2026-07-01", "2026-07-01T00:00:00Z", "tRUE", "1.2.3", ".", "1e", "0o8")),
        *(("true", True), ("False", False), ("null", None), ("~", None), ("", None)),
        *(("010", 10), ("-7", -7), ("0o17", 15), ("0xfF", 255), ("1e3", 1000.0), (".5", 0.5), ("-1.", -1.0)),
        *(("'5'", "5"), ('"true"', "true"), ("!!str 5", "5"), ("!!int '5'", 5), ("!!float 1", 1.0)),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object) -> None:
    ((found,),) = ([document["a"] for document in core_yaml.documents(f"a: {text}\n")],)
    assert (found, type(found)) == (value, type(value))


def test_a_key_is_the_text_that_was_written() -> None:
    keys = ["on", "no", "Yes", "true", "null", "~", "1", "1.0", "010", "0x1F", "2026-07-01", "12:30", "="]
    assert core_yaml.documents("".join(f"{key}: a\n" for key in keys)) == [dict.fromkeys(keys, "a")]


def test_merges_and_aliases_hold() -> None:
    text = (
        "a: &a {x: 1, y: 2}\nenv: {<<: *a, y: 3, z: true}\nn: &n 5\nlabels: {n: *n}\n"
        "both: {<<: [{p: 1}, {q: 2}]}\n*n : key\n"
    )
    assert core_yaml.documents(text, texts=("env", "labels")) == [
        {
            "a": {"x": "1", "y": "2"},
            "env": {"x": "1", "y": "3", "z": "true"},
            "n": 5,
            "labels": {"n": "5"},
            "both": {"p": 1, "q": 2},
            "5": "key",
        }
    ]


@given(JSON)
def test_what_is_dumped_is_read_as_it_was_by_either_version(value: object) -> None:
    dumped = core_yaml.dump(value)
    assert core_yaml.documents(dumped) == [value]
    assert yaml.safe_load(dumped) == value


@pytest.mark.parametrize(
    "content",
    [
        "image_uri: busybox\nenv:\n  A: '1'\n  A: '2'\n",
        "image_uri: busybox\nenv: {1: a, '1': b, A: c, A: d}\n",
        '{"image_uri": "busybox", "env": {"A": "1", "A": "2"}}',
        '{"image_uri": "busybox",\n\t"env": {"A": "1", "A": "1"}}',
    ],
)
def test_a_key_that_comes_twice_is_refused_by_its_name(
    server: ScriptedServer, here: Here, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(content)
    for done in (here("submit", "-f", str(file)), here("batch", str(file))):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "has the key 'A' twice" in done.stderr or "has the key '1' twice" in done.stderr
    assert server.asked == []


def test_env_labels_and_commands_are_the_text_that_was_written(
    server: ScriptedServer, here: Here, job: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(201, {**job, "jobs": [job]})
    file = tmp_path / "job.yaml"
    file.write_text(
        "image_uri: busybox\n"
        "commands: [run, --year, 2026, --ratio, 1.10, on, true, 0x1F]\n"
        "env: {on: yes, no: 2026-07-01, V: 1.10, DEBUG: true, P: 010, T: 12:30}\n"
        "labels: {version: 1.10}\n"
        "secret_env: {yes: projects/p/secrets/s/versions/1}\n"
        "priority: 07\ntask_count: 3\n"
    )
    expected = {
        "image_uri": "busybox",
        "commands": ["run", "--year", "2026", "--ratio", "1.10", "on", "true", "0x1F"],
        "env": {"on": "yes", "no": "2026-07-01", "V": "1.10", "DEBUG": "true", "P": "010", "T": "12:30"},
        "labels": {"version": "1.10"},
        "secret_env": {"yes": "projects/p/secrets/s/versions/1"},
        "priority": 7,
        "task_count": 3,
    }
    assert here("submit", "-f", str(file)).returncode == 0
    assert here("batch", str(file)).returncode == 0
    assert [asked.body for asked in server.asked] == [expected, {"requests": [expected]}]


def test_json_is_sent_as_it_is(
    server: ScriptedServer, here: Here, job: dict[str, Any], tmp_path: Path
) -> None:
    server.reply(201, job)
    request = {"image_uri": "busybox", "env": {"on": 1, "A": None}}
    (tmp_path / "job.json").write_text(json.dumps(request), encoding="utf-8-sig")
    assert here("submit", "-f", str(tmp_path / "job.json")).returncode == 0
    assert server.asked[0].body == request


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: !!bool maybe", "in line 1: 'maybe' is no bool"),
        (b"a: !!int x", "'x' is no int"),
        (b"\n\na: !!timestamp 2026", "in line 3"),
        (b"a: " + b"9" * 5000, "is no int"),
        (b"a: [", "is neither JSON nor YAML"),
        (b"[" * 100_000, "is neither JSON nor YAML"),
        (b'{"a": "\\ud800"}', "half a character"),
        (b"a: \xff", "no UTF-8 text"),
        (b"a: .inf", "JSON has not"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(
    server: ScriptedServer, here: Here, tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    done = here("submit", "busybox", "-f", str(file))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert words in done.stderr
    assert server.asked == []
