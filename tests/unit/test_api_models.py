"""The request of a submission: each limit at its edge, strict types, and a digest that means the request."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.api.job_answers import JobAnswer
from shared.api.spec import SubmitRequest
from shared.errors import InvalidArgument
from shared.model import Job
from shared.resources import Gpus, Mount, Resources
from shared.spec import Backoff, FailureReason, JobSpec, Provisioning, RetryAction, RetryPolicy, RetryRule
from tests.submissions import ACCOUNT, bodies, parse

LEAST = {"image_uri": "busybox"}
FULL: dict[str, Any] = {
    "image_uri": "europe-docker.pkg.dev/p/r/i@sha256:" + "0" * 64,
    "commands": ["sh", "-c", "é \n $X"],
    "name": "nightly",
    "env": {"_A1": "é\n", "PATH": ""},
    "max_retries": 0,
    "timeout_seconds": 60,
    "retry": {
        "backoff": {"first_delay_seconds": 0, "factor": 1.5, "max_delay_seconds": 60},
        "rules": [
            {"exit_codes": [1, 2], "reasons": None, "action": "fail"},
            {"exit_codes": None, "reasons": ["timeout"], "action": "retry"},
        ],
        "max_infrastructure_retries": 0,
    },
    "provisioning": "spot_then_standard",
    "entrypoint": "/bin/sh",
    "secret_env": {"TOKEN": "projects/p/secrets/s/versions/1"},
    "resources": None,
    "profile": None,
    "machine_type": "n1-standard-4",
    "gpus": {"type": "nvidia-tesla-t4", "count": 1},
    "boot_disk_gib": 100,
    "labels": {"team": "a"},
    "mounts": [{"bucket": "inputs", "path": None, "mount_path": "/data", "read_only": True}],
    "task_count": 10,
    "parallelism": 2,
    "priority": 9,
}

SIZES = ("resources", "profile", "machine_type")


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
    assert request.spec(ACCOUNT) == JobSpec(
        name="nightly",
        env=FULL["env"],
        timeout_seconds=60,
        retry=RetryPolicy(
            backoff=Backoff(first_delay_seconds=0, factor=1.5, max_delay_seconds=60),
            rules=(
                RetryRule(exit_codes=(1, 2), action=RetryAction.FAIL),
                RetryRule(reasons=(FailureReason.TIMEOUT,), action=RetryAction.RETRY),
            ),
            max_infrastructure_retries=0,
        ),
        provisioning=Provisioning.SPOT_THEN_STANDARD,
        entrypoint="/bin/sh",
        secret_env=FULL["secret_env"],
        profile=None,
        machine_type="n1-standard-4",
        gpus=Gpus(type="nvidia-tesla-t4", count=1),
        boot_disk_gib=100,
        labels={"team": "a"},
        mounts=(Mount(bucket="inputs", mount_path="/data"),),
        task_count=10,
        parallelism=2,
        priority=9,
        service_account=ACCOUNT,
    )


def test_everything_but_the_image_has_a_default() -> None:
    request = parse(LEAST)
    assert (request.commands, request.name, request.env) == ([], None, {})
    assert (request.max_retries, request.timeout_seconds) == (3, 3600)
    assert request.spec() == JobSpec()


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


def rule(**fields: object) -> dict[str, Any]:
    return {"rules": [{"action": "fail", **fields}]}


def backoff(**fields: object) -> dict[str, Any]:
    return {"backoff": fields}


@pytest.mark.parametrize(
    ("edge", "beyond", "named"),
    [
        (rule(exit_codes=[1]), rule(exit_codes=[0]), "rules[0].exit_codes[0]"),
        (rule(exit_codes=[1, 65_535]), rule(exit_codes=[1, 65_536]), "rules[0].exit_codes[1]"),
        (rule(exit_codes=[50_001]), rule(exit_codes=[]), "rules[0].exit_codes"),
        (rule(exit_codes=[1] * 100), rule(exit_codes=[1] * 101), "rules[0].exit_codes"),
        (rule(reasons=["unknown"]), rule(reasons=[]), "rules[0].reasons"),
        (rule(reasons=["timeout"] * 100), rule(reasons=["timeout"] * 101), "rules[0].reasons"),
        (
            {"rules": rule(exit_codes=[1])["rules"] * 20},
            {"rules": rule(exit_codes=[1])["rules"] * 21},
            "rules",
        ),
        (rule(exit_codes=[1], reasons=None), rule(exit_codes=[1], reasons=["timeout"]), "rules[0]"),
        (rule(exit_codes=None, reasons=["timeout"]), rule(), "rules[0]"),
        ({"max_infrastructure_retries": 0}, {"max_infrastructure_retries": -1}, "max_infrastructure_retries"),
        (
            {"max_infrastructure_retries": 20},
            {"max_infrastructure_retries": 21},
            "max_infrastructure_retries",
        ),
        (backoff(first_delay_seconds=0), backoff(first_delay_seconds=-1), "backoff.first_delay_seconds"),
        (
            backoff(first_delay_seconds=86_400, max_delay_seconds=86_400),
            backoff(first_delay_seconds=86_401, max_delay_seconds=86_400),
            "backoff.first_delay_seconds",
        ),
        (backoff(max_delay_seconds=86_400), backoff(max_delay_seconds=86_401), "backoff.max_delay_seconds"),
        (backoff(factor=1), backoff(factor=0.999), "backoff.factor"),
        (backoff(factor=10), backoff(factor=10.001), "backoff.factor"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_every_limit_of_the_retry_policy_at_its_edge(
    edge: dict[str, Any], beyond: dict[str, Any], named: str
) -> None:
    parse({**LEAST, "retry": edge})
    assert field({**LEAST, "retry": beyond}) == f"retry.{named}"


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        (None, ""),
        ([], ""),
        ("never", ""),
        ({"max_retries": 3}, ".max_retries"),
        ({"rules": None}, ".rules"),
        ({"rules": {}}, ".rules"),
        ({"rules": [None]}, ".rules[0]"),
        ({"rules": [{"exit_codes": [1]}]}, ".rules[0].action"),
        (rule(exit_codes=[1], action="stop"), ".rules[0].action"),
        (rule(exit_codes=[1], action=None), ".rules[0].action"),
        (rule(exit_codes=[1], attempts=3), ".rules[0].attempts"),
        (rule(exit_codes=1), ".rules[0].exit_codes"),
        (rule(exit_codes=["1"]), ".rules[0].exit_codes[0]"),
        (rule(exit_codes=[True]), ".rules[0].exit_codes[0]"),
        (rule(exit_codes=[1.5]), ".rules[0].exit_codes[0]"),
        (rule(reasons="timeout"), ".rules[0].reasons"),
        (rule(reasons=["TIMEOUT"]), ".rules[0].reasons[0]"),
        (rule(reasons=["timeout", 3]), ".rules[0].reasons[1]"),
        (rule(reasons=["timeout", "rejected"]), ".rules[0].reasons[1]"),
        (rule(reasons=["name_taken"]), ".rules[0].reasons[0]"),
        (rule(reasons=["platform_fault"]), ".rules[0].reasons[0]"),
        ({"backoff": []}, ".backoff"),
        (backoff(factor="2"), ".backoff.factor"),
        (backoff(factor=True), ".backoff.factor"),
        (backoff(factor=None), ".backoff.factor"),
        (backoff(factor=10**400), ".backoff.factor"),
        (backoff(first_delay_seconds=0.5), ".backoff.first_delay_seconds"),
        (backoff(jitter="none"), ".backoff.jitter"),
        ({"max_infrastructure_retries": None}, ".max_infrastructure_retries"),
        ({"max_infrastructure_retries": True}, ".max_infrastructure_retries"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_in_a_retry_policy_is_named(policy: object, named: str) -> None:
    assert field({**LEAST, "retry": policy}) == f"retry{named}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_factor_is_finite(number: str) -> None:
    body = f'{{"image_uri": "x", "retry": {{"backoff": {{"factor": {number}}}}}}}'
    assert field(body.encode()) == "retry.backoff.factor"


@pytest.mark.parametrize("value", ["SPOT", "preemptible", "", None, True, ["spot"]])
def test_provisioning_is_one_of_three(value: object) -> None:
    assert field({**LEAST, "provisioning": value}) == "provisioning"


def test_a_refused_policy_says_what_is_allowed() -> None:
    refused = refusal({**LEAST, "retry": rule(reasons=["rejected"]), "provisioning": "cheap"})
    reasons, provisioning = (str(problem["reason"]) for problem in refused.details)
    assert reasons.startswith("must be 'user_exit', 'timeout', 'spot_preemption', ")
    assert provisioning == "must be 'standard', 'spot' or 'spot_then_standard'"


def test_a_rule_may_name_every_reason_that_can_be_tried_again() -> None:
    allowed = [reason.value for reason in FailureReason if reason.retryable]
    request = parse({**LEAST, "retry": rule(reasons=allowed)})
    assert request.spec().retry.rules[0].reasons == tuple(FailureReason(reason) for reason in allowed)


@given(bodies)
def test_what_is_asked_for_is_stored_and_shown(fields: dict[str, Any]) -> None:
    request = parse(fields)
    spec = request.spec(ACCOUNT)
    stored = json.loads(json.dumps(spec.to_json()))
    assert JobSpec.from_json(stored) == spec
    job = Job(
        tenant_id="t",
        job_id="j",
        image_uri=request.image_uri,
        commands=tuple(request.commands),
        max_retries=request.max_retries,
        spec=spec,
        infra_retry_count=2,
    )
    shown = JobAnswer.of(job).shown()
    assert shown["infra_retry_count"] == 2
    for name, value in fields.items():
        if name not in {"retry", "mounts", "profile"}:
            assert shown[name] == value
    # All of it is shown, can be asked for again, and is the same then; but the account is nobody's to see.
    again = parse({name: shown[name] for name in SubmitRequest.model_fields})
    assert again.spec(ACCOUNT) == spec
    assert ACCOUNT not in json.dumps(shown)


STORED_BY_EARLIER_RELEASES: list[dict[str, Any] | None] = [
    None,
    {},
    {"name": "n", "env": {"A": "b"}, "timeout_seconds": 60, "max_infrastructure_retries": 2},
    {
        "name": None,
        "env": {},
        "timeout_seconds": 60,
        "retry": {"backoff": None, "rules": [], "max_infrastructure_retries": 5},
        "provisioning": "spot",
    },
]


@pytest.mark.parametrize("stored", STORED_BY_EARLIER_RELEASES)
def test_rows_of_earlier_releases_ran_on_what_is_the_default(stored: dict[str, Any] | None) -> None:
    spec = JobSpec.from_json(stored)
    assert (spec.profile, spec.task_count, spec.mounts, spec.service_account) == ("medium", 1, (), None)


def test_what_a_newer_release_stored_is_read_as_far_as_it_is_known() -> None:
    stored = JobSpec(
        gpus=Gpus(type="t", count=1),
        resources=Resources(cpu_milli=250, memory_mib=256),
        mounts=(Mount(bucket="inputs", mount_path="/data"),),
    ).to_json()
    newer = stored | {"later": 1, "gpus": stored["gpus"] | {"later": 1}}
    newer["mounts"] = [stored["mounts"][0] | {"later": 1}]
    newer["resources"] = stored["resources"] | {"later": 1}
    assert JobSpec.from_json(newer) == JobSpec.from_json(stored)


@pytest.mark.parametrize("value", [True, False, 3.5, "3", None, [3], {}, 10**30, 1e30])
@pytest.mark.parametrize("name", ["max_retries", "timeout_seconds"])
def test_only_a_whole_number_is_a_number(name: str, value: object) -> None:
    assert field({**LEAST, name: value}) == name


@pytest.mark.parametrize("number", ["1.5", "1e-1", "NaN", "Infinity", "-Infinity", "1e400", "1e300"])
def test_spellings_of_numbers_that_are_no_integers(number: str) -> None:
    assert field(f'{{"image_uri": "x", "max_retries": {number}}}'.encode()) == "max_retries"


@pytest.mark.parametrize("number", ["3", "3.0", "3e0", "0.3E1", "30e-1"])
def test_a_whole_number_is_one_however_it_is_spelled(number: str) -> None:
    """As JSON Schema has it, so that the document says what is accepted."""
    request = SubmitRequest.parse(f'{{"image_uri": "busybox", "max_retries": {number}}}'.encode())
    assert request.digest() == parse(LEAST).digest()


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


@given(bodies, st.randoms(use_true_random=False))
def test_equal_requests_have_one_digest_however_spelled(
    fields: dict[str, Any], source: random.Random
) -> None:
    request = parse(fields)
    assert SubmitRequest.parse(spelled(fields, source)).digest() == request.digest()
    # What is left out is what the default says.
    assert parse(request.model_dump()).digest() == request.digest()
    assert len(request.digest()) == 64


@given(bodies, bodies)
def test_other_requests_have_other_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = parse(one), parse(other)
    assert (first.digest() == second.digest()) == (first == second)


@given(bodies, st.data())
def test_any_change_changes_the_digest(fields: dict[str, Any], data: st.DataObject) -> None:
    request = parse(fields)
    name = data.draw(st.sampled_from(list(request.model_dump())))
    others = dict.fromkeys(SIZES) if name in SIZES else {}
    changed = parse({**request.model_dump(), **others, name: FULL[name]})
    assert (changed.digest() == request.digest()) == (changed == request)


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        (LEAST, "03426840299c788c3b157260639b429d72d45b92bf970427fe72e5e21b894762"),
        (
            {
                "image_uri": "europe-docker.pkg.dev/p/r/i@sha256:" + "0" * 64,
                "commands": ["sh", "-c", "é"],
                "env": {"A": "b"},
                "max_retries": 0,
            },
            "7311f2346e4233a8979fb0ad2fc5a6786961434eb28b3b628ddeb465661ce6ed",
        ),
    ],
)
def test_a_replay_across_releases_finds_its_job(fields: dict[str, Any], stored: str) -> None:
    """Digests that the first release stored, and a field of later releases at its default."""
    assert parse(fields).digest() == stored
    defaults: list[dict[str, Any]] = [
        {"retry": {}},
        {"retry": {"rules": [], "backoff": None, "max_infrastructure_retries": 5}},
        {"provisioning": "standard"},
        {"entrypoint": None, "secret_env": {}, "labels": {}, "mounts": [], "gpus": None},
        {"resources": None, "profile": None, "machine_type": None, "boot_disk_gib": None},
        {"task_count": 1, "parallelism": None, "priority": 0},
    ]
    for later in defaults:
        assert parse({**fields, **later}).digest() == stored


def test_a_field_that_came_later_counts_where_it_is_used() -> None:
    class Later(SubmitRequest):
        weight: int = 3

    body = json.dumps(FULL).encode()
    digests = {SubmitRequest.parse(body).digest(), Later.parse(body).digest()}
    assert len(digests) == 1
    assert Later.parse(json.dumps({**FULL, "weight": 4}).encode()).digest() not in digests
    assert parse({**LEAST, "retry": {"backoff": {}}}).digest() != parse(LEAST).digest()


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
