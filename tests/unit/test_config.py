"""Settings: every wrong one is refused at start, by its name and in one sentence."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.callers import Admission, Issuer, OperatorClaim, Operators
from shared.config import JobNetwork, Limits, Settings, Timing
from shared.errors import SettingsError

NEEDED = {"GOOGLE_CLOUD_PROJECT": "my-project", "SPANNER_INSTANCE": "jennah"}
ISSUER = {"issuer": "https://accounts.google.com", "audience": "jennah", "provider": "google"}
REGIONAL = "projects/host-project/regions"
NETWORK = "projects/host-project/global/networks/jobs"
SUBNETWORK = f"{REGIONAL}/us-central1/subnetworks/jobs"
TIMES = (
    "TICK",
    "PENDING_CHECK",
    "PENDING_CHECK_LIMIT",
    "LIVE_CHECK",
    "LIVE_CHECK_LIMIT",
    "UNCONFIRMED_CHECK",
    "RETRY_BASE",
    "CREATE_DEADLINE",
    "SETTLE_MARGIN",
    "DELETE_AGE",
    "BODY",
    "STREAM",
    "LOG_PAUSE",
    "LOG_SPACING",
    "LOG_DELAY",
)


def refusal(**changed: str) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({**NEEDED, **changed})
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_defaults_are_productions() -> None:
    settings = Settings.from_env(NEEDED)
    assert settings == Settings(project="my-project", spanner_instance="jennah")
    assert settings.admission == Admission()  # nobody
    assert settings.batch_parent == "projects/my-project/locations/us-central1"


def test_jobs_never_run_as_the_projects_default_account() -> None:
    with pytest.raises(SettingsError, match=r"^JENNAH_JOB_SERVICE_ACCOUNT is not set: set it to [^.]*\.$"):
        Settings.from_env(NEEDED).require_job_account()
    for enough in (
        {"JENNAH_JOB_SERVICE_ACCOUNT": "jobs@my-project.iam.gserviceaccount.com"},
        {"BATCH_EMULATOR_HOST": "127.0.0.1:9"},
    ):
        Settings.from_env({**NEEDED, **enough}).require_job_account()


def test_what_is_empty_counts_as_not_set() -> None:
    names = ["SPANNER_DATABASE", "JENNAH_REGION", "JENNAH_DEPLOYMENT", "JENNAH_JOBS_TOPIC", "JENNAH_ADMIT"]
    names += ["JENNAH_OIDC_ISSUERS", "BATCH_EMULATOR_HOST", "SPANNER_EMULATOR_HOST", "JENNAH_TICK_SECONDS"]
    names += ["JENNAH_BATCH_EVENTS_TOPIC", "JENNAH_JOB_SERVICE_ACCOUNT", "JENNAH_OPERATORS", "JENNAH_LIMITS"]
    names += ["JENNAH_JOB_NETWORK", "JENNAH_JOB_SUBNETWORK", "JENNAH_JOB_EXTERNAL_IP"]
    assert Settings.from_env({**NEEDED, **dict.fromkeys(names, "")}) == Settings.from_env(NEEDED)


def test_every_setting_is_read() -> None:
    settings = Settings.from_env(
        {
            **NEEDED,
            "SPANNER_DATABASE": "jobs-db",
            "JENNAH_REGION": "northamerica-northeast1",
            "JENNAH_DEPLOYMENT": "blue_2",
            "JENNAH_JOBS_TOPIC": "a.jobs",
            "JENNAH_BATCH_EVENTS_TOPIC": "a.events",
            "JENNAH_JOB_SERVICE_ACCOUNT": "jobs@my-project.iam.gserviceaccount.com",
            "JENNAH_JOB_NETWORK": "projects/host-project/global/networks/jobs",
            "JENNAH_JOB_SUBNETWORK": f"{REGIONAL}/northamerica-northeast1/subnetworks/jobs",
            "JENNAH_JOB_EXTERNAL_IP": "none",
            "JENNAH_OIDC_ISSUERS": json.dumps([ISSUER]),
            "JENNAH_ADMIT": json.dumps(
                {"emails": ["Ann@Example.com"], "domains": ["Example.org"], "subjects": ["g:A b"]}
            ),
            "JENNAH_OPERATORS": json.dumps(
                {"emails": ["Root@Example.com"], "claim": {"name": "roles", "value": "operator"}}
            ),
            "JENNAH_LIMITS": json.dumps({"open_jobs": 100, "submissions_per_minute": None}),
            "BATCH_EMULATOR_HOST": "127.0.0.1:9",
            "SPANNER_EMULATOR_HOST": "localhost:9010",
            "LOGGING_EMULATOR_HOST": "127.0.0.1:10",
            "PUBSUB_EMULATOR_HOST": "127.0.0.1:11",
            "THREADS": "80",
            **{f"JENNAH_{name}_SECONDS": "1.5" for name in TIMES},
        }
    )
    second = timedelta(seconds=1.5)
    assert settings == Settings(
        project="my-project",
        spanner_instance="jennah",
        spanner_database="jobs-db",
        region="northamerica-northeast1",
        deployment="blue_2",
        jobs_topic="a.jobs",
        batch_events_topic="a.events",
        job_service_account="jobs@my-project.iam.gserviceaccount.com",
        job_network=JobNetwork(
            network="projects/host-project/global/networks/jobs",
            subnetwork=f"{REGIONAL}/northamerica-northeast1/subnetworks/jobs",
            external_ip=False,
        ),
        issuers=(Issuer(**ISSUER),),
        admission=Admission(
            emails=frozenset({"ann@example.com"}),
            domains=frozenset({"example.org"}),
            subjects=frozenset({"g:A b"}),
        ),
        operators=Operators(
            Admission(emails=frozenset({"root@example.com"})), OperatorClaim("roles", "operator", "google")
        ),
        limits=Limits(open_jobs=100),
        timing=Timing(**{name.lower(): second for name in TIMES}),
        batch_emulator_host="127.0.0.1:9",
        spanner_emulator_host="localhost:9010",
        logging_emulator_host="127.0.0.1:10",
        pubsub_emulator_host="127.0.0.1:11",
        threads=80,
    )
    with pytest.raises(FrozenInstanceError):
        settings.project = "other"  # type: ignore[misc]  # that it can't be written is what is tested


def test_everyone_is_admitted_only_by_that_word() -> None:
    assert Settings.from_env({**NEEDED, "JENNAH_ADMIT": "everyone"}).admission == Admission(everyone=True)
    for other in ("Everyone", '"everyone"', "all", "*", "true", '{"everyone": true}'):
        assert "JENNAH_ADMIT" in refusal(JENNAH_ADMIT=other)


@pytest.mark.parametrize(
    "wrong",
    [
        "everyone",
        "[]",
        '{"everyone": true}',
        '{"emails": "ann@example.com"}',
        '{"subjects": ["ann"]}',
        '{"claim": "roles"}',
        '{"claim": {"name": "roles"}}',
        '{"claim": {"name": "roles", "value": ""}}',
        '{"claim": {"name": "roles", "value": ["a"]}}',
        '{"claim": {"name": "roles", "value": "a", "provider": "other"}}',
        '{"claim": {"name": "roles", "value": "a", "else": "x"}}',
    ],
)
def test_wrong_operators_are_refused(wrong: str) -> None:
    assert "JENNAH_OPERATORS" in refusal(JENNAH_OPERATORS=wrong, JENNAH_OIDC_ISSUERS=json.dumps([ISSUER]))


def test_of_several_issuers_the_one_that_names_operators_is_named() -> None:
    issuers = json.dumps([ISSUER, {**ISSUER, "audience": "other", "provider": "other"}])
    claim = {"name": "roles", "value": "operator"}
    for configured in (issuers, "[]"):
        message = refusal(JENNAH_OPERATORS=json.dumps({"claim": claim}), JENNAH_OIDC_ISSUERS=configured)
        assert "provider" in message
    settings = Settings.from_env(
        {
            **NEEDED,
            "JENNAH_OIDC_ISSUERS": issuers,
            "JENNAH_OPERATORS": json.dumps({"claim": {**claim, "provider": "google"}}),
        }
    )
    assert settings.operators.claim == OperatorClaim("roles", "operator", "google")


@pytest.mark.parametrize(
    "wrong",
    [
        "5",
        "[]",
        "off",
        '{"jobs": 5}',
        *(f'{{"open_jobs": {value}}}' for value in ("-1", "1.5", "true", '"5"', "1000001", "[]")),
    ],
)
def test_wrong_limits_are_refused(wrong: str) -> None:
    assert "JENNAH_LIMITS" in refusal(JENNAH_LIMITS=wrong)


@pytest.mark.parametrize(
    ("changed", "first_words"),
    [
        ({"JENNAH_JOB_NETWORK": NETWORK}, "JENNAH_JOB_SUBNETWORK is not set, but JENNAH_JOB_NETWORK is"),
        ({"JENNAH_JOB_SUBNETWORK": SUBNETWORK}, "JENNAH_JOB_NETWORK is not set, but JENNAH_JOB_SUBNETWORK"),
        ({"JENNAH_JOB_EXTERNAL_IP": "none"}, "JENNAH_JOB_EXTERNAL_IP is none, which needs a network"),
        (
            {
                "JENNAH_JOB_NETWORK": NETWORK,
                "JENNAH_JOB_SUBNETWORK": SUBNETWORK,
                "JENNAH_REGION": "us-central2",
            },
            "JENNAH_JOB_SUBNETWORK must be in the region of JENNAH_REGION, us-central2, not ",
        ),
    ],
)
def test_a_network_that_jobs_could_not_start_in_is_refused(changed: dict[str, str], first_words: str) -> None:
    assert refusal(**changed).startswith(first_words)


def test_jobs_have_external_addresses_unless_told_otherwise() -> None:
    named = {**NEEDED, "JENNAH_JOB_NETWORK": NETWORK, "JENNAH_JOB_SUBNETWORK": SUBNETWORK}
    for value, external in ((None, True), ("", True), ("yes", True), ("none", False)):
        changed = {} if value is None else {"JENNAH_JOB_EXTERNAL_IP": value}
        assert Settings.from_env({**named, **changed}).job_network == JobNetwork(
            NETWORK, SUBNETWORK, external
        )


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_what_is_needed_is_named(name: str) -> None:
    assert refusal(**{name: ""}).startswith(f"{name} is not set: set it to ")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("GOOGLE_CLOUD_PROJECT", ["projects/my-project", "my project", "My-Project", "x" * 64]),
        ("SPANNER_INSTANCE", ["projects/p/instances/i", "-i", "I", "jennah\n"]),
        ("SPANNER_DATABASE", ["m", "main/x", "1main", "x" * 31]),
        ("JENNAH_REGION", ["us-central1-a", "us", "locations/us-central1", "US-CENTRAL1"]),
        ("JENNAH_DEPLOYMENT", ["Blue", "a.b", "a b", "é", "x" * 64]),
        ("JENNAH_JOBS_TOPIC", ["projects/p/topics/jobs", "ab", "1jobs", "a b c", "x" * 256]),
        ("JENNAH_BATCH_EVENTS_TOPIC", ["projects/p/topics/jobs", "ab"]),
        ("JENNAH_JOB_SERVICE_ACCOUNT", ["default", "a@b@c", "a@b c", "serviceAccount:a@b"]),
        (
            "JENNAH_JOB_NETWORK",
            ["jobs", "global/networks/jobs", f"https://x/{NETWORK}", NETWORK + "/", SUBNETWORK],
        ),
        (
            "JENNAH_JOB_SUBNETWORK",
            ["jobs", "regions/us-central1/subnetworks/jobs", SUBNETWORK + "\n", NETWORK],
        ),
        ("JENNAH_JOB_EXTERNAL_IP", ["no", "None", "true", "0"]),
        ("THREADS", ["0", "-1", "many", "1.5", "10000"]),
        ("LOGGING_EMULATOR_HOST", ["localhost", "http://localhost:1"]),
        ("PUBSUB_EMULATOR_HOST", ["localhost", "http://localhost:1"]),
        ("JENNAH_BODY_SECONDS", ["60.1"]),
        ("JENNAH_STREAM_SECONDS", ["60.1"]),
        ("BATCH_EMULATOR_HOST", ["localhost", "http://localhost:1", ":80", "localhost:", "localhost:x"]),
        ("SPANNER_EMULATOR_HOST", ["localhost", "http://localhost:1/"]),
        *[
            (f"JENNAH_{name}_SECONDS", ["0", "-1", "x", "nan", "inf", "1e-9", "86400.1", "1 s", "0x1"])
            for name in TIMES
        ],
    ],
)
def test_a_wrong_setting_is_named(name: str, values: list[str]) -> None:
    for value in values:
        message = refusal(**{name: value})
        assert message.startswith(f"{name} must be ")
        assert repr(value) in message


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "{}",
        "null",
        "[5]",
        "[" * 100_000,
        "[{}]",
        *[json.dumps([{**ISSUER, name: value}]) for name in ISSUER for value in ("", None, 5, ["x"])],
        *[json.dumps([{key: ISSUER[key] for key in ISSUER if key != name}]) for name in ISSUER],
        json.dumps([{**ISSUER, "jwks_uri": 5}]),
        json.dumps([{**ISSUER, "jwks_uri": ["https://x"]}]),
        json.dumps([{**ISSUER, "client_secret": "x"}]),
        json.dumps([ISSUER, {**ISSUER, "issuer": "https://other.example.com"}]),
    ],
    ids=lambda value: value[:100],
)
def test_wrong_issuers_are_named(value: str) -> None:
    assert refusal(JENNAH_OIDC_ISSUERS=value).startswith("JENNAH_OIDC_ISSUERS ")


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "[]",
        "5",
        "null",
        '{"email": []}',
        *[json.dumps({name: value}) for name in ("emails", "domains", "subjects") for value in (5, "x", [5])],
        '{"emails": ["example.com"]}',
        '{"emails": ["ann@"]}',
        '{"domains": ["@example.com"]}',
        '{"domains": [""]}',
        '{"subjects": ["only-a-subject"]}',
        '{"subjects": [":x"]}',
    ],
)
def test_rules_that_would_admit_nobody_by_mistake_are_named(value: str) -> None:
    assert refusal(JENNAH_ADMIT=value).startswith("JENNAH_ADMIT")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["issuer", "audience", "provider", "jwks_uri", "emails", "domains", "subjects"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["JENNAH_OIDC_ISSUERS", "JENNAH_ADMIT"]), json_values.map(json.dumps) | st.text())
def test_any_text_is_understood_or_named(name: str, text: str) -> None:
    try:
        Settings.from_env({**NEEDED, name: text})
    except SettingsError:
        assert refusal(**{name: text}).startswith(name)


@given(st.floats(0.001, 86_400))
def test_any_time_is_kept_to_the_microsecond(seconds: float) -> None:
    settings = Settings.from_env({**NEEDED, "JENNAH_TICK_SECONDS": repr(seconds)})
    assert settings.timing.tick == timedelta(seconds=seconds) > timedelta(0)
