"""The fields of a submission that say where and how a job runs: each limit at its edge, by its name."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidArgument
from shared.resources import Mount
from tests.submissions import ACCOUNT, parse

LEAST = {"image_uri": "busybox"}
VERSION = "projects/p/secrets/s/versions/1"


def refusal(fields: dict[str, Any]) -> tuple[str, str]:
    """The first field that is refused, and why."""
    with pytest.raises(InvalidArgument) as caught:
        parse({**LEAST, **fields})
    first = caught.value.details[0]
    return first["field"], first["reason"]


def mount(**fields: object) -> dict[str, Any]:
    return {"mounts": [{"bucket": "inputs", "mount_path": "/data", **fields}]}


def size(cpu: object, memory: object) -> dict[str, Any]:
    return {"resources": {"cpu_milli": cpu, "memory_mib": memory}}


@pytest.mark.parametrize(
    ("edge", "beyond", "named"),
    [
        ({"entrypoint": "x"}, {"entrypoint": ""}, "entrypoint"),
        ({"entrypoint": "x" * 16_384}, {"entrypoint": "x" * 16_385}, "entrypoint"),
        ({"entrypoint": "\n"}, {"entrypoint": "\0"}, "entrypoint"),
        ({"secret_env": {"A": VERSION}}, {"secret_env": {"A-B": VERSION}}, "secret_env"),
        ({"secret_env": {"A_": VERSION}}, {"secret_env": {"JENNAH_A": VERSION}}, "secret_env"),
        (
            {"secret_env": {f"A{i}": VERSION for i in range(100)}},
            {"secret_env": {f"A{i}": VERSION for i in range(101)}},
            "secret_env",
        ),
        (
            {"secret_env": {"A": "projects/p/secrets/s/versions/latest"}},
            {"secret_env": {"A": "projects/p/secrets/s/versions/newest"}},
            "secret_env.A",
        ),
        (
            {"secret_env": {"A": "projects/p/secrets/s/versions/9"}},
            {"secret_env": {"A": "projects/p/secrets/s/versions/0"}},
            "secret_env.A",
        ),
        (
            {"secret_env": {"A": "projects/12/secrets/S_-/versions/1"}},
            {"secret_env": {"A": "projects/p/secrets/s"}},
            "secret_env.A",
        ),
        (size(250, 256), size(249, 256), "resources.cpu_milli"),
        (size(250, 256), size(250, 255), "resources.memory_mib"),
        (size(416_000, 12_058_624), size(416_001, 256), "resources.cpu_milli"),
        (size(416_000, 12_058_624), size(250, 12_058_625), "resources.memory_mib"),
        (size(250, 256), {"resources": {"cpu_milli": 250}}, "resources.memory_mib"),
        ({"profile": "xlarge"}, {"profile": "huge"}, "profile"),
        ({"machine_type": "e2-micro"}, {"machine_type": "e2"}, "machine_type"),
        ({"machine_type": "n2-custom-4-5120-ext"}, {"machine_type": "E2-micro"}, "machine_type"),
        ({"machine_type": "a-" + "x" * 61}, {"machine_type": "a-" + "x" * 62}, "machine_type"),
        (
            {"gpus": {"type": "nvidia-l4", "count": 1}},
            {"gpus": {"type": "nvidia-l4", "count": 0}},
            "gpus.count",
        ),
        (
            {"gpus": {"type": "nvidia-l4", "count": 16}},
            {"gpus": {"type": "nvidia-l4", "count": 17}},
            "gpus.count",
        ),
        ({"gpus": {"type": "x", "count": 1}}, {"gpus": {"type": "a b", "count": 1}}, "gpus.type"),
        ({"gpus": None}, {"gpus": {"type": "nvidia-l4"}}, "gpus.count"),
        ({"boot_disk_gib": 30}, {"boot_disk_gib": 29}, "boot_disk_gib"),
        ({"boot_disk_gib": 65_536}, {"boot_disk_gib": 65_537}, "boot_disk_gib"),
        ({"labels": {"a" * 63: "b" * 63}}, {"labels": {"a" * 64: ""}}, "labels"),
        ({"labels": {"a": ""}}, {"labels": {"a": "b" * 64}}, "labels.a"),
        ({"labels": {"a_-1": "1_-"}}, {"labels": {"1a": ""}}, "labels"),
        ({"labels": {"go": ""}}, {"labels": {"goog": ""}}, "labels"),
        ({"labels": {"jennah": ""}}, {"labels": {"jennah-job": ""}}, "labels"),
        ({"labels": {"a": "b"}}, {"labels": {"a": "B"}}, "labels.a"),
        ({"labels": {"a": "b"}}, {"labels": {"a": "é"}}, "labels.a"),
        (
            {"labels": {f"a{i}": "" for i in range(32)}},
            {"labels": {f"a{i}": "" for i in range(33)}},
            "labels",
        ),
        ({"mounts": mount()["mounts"] * 10}, {"mounts": mount()["mounts"] * 11}, "mounts"),
        (mount(bucket="a.b_c-9"), mount(bucket="gs://a"), "mounts[0].bucket"),
        (mount(bucket="abc"), mount(bucket="ab"), "mounts[0].bucket"),
        (mount(bucket="a" * 222), mount(bucket="a" * 223), "mounts[0].bucket"),
        (mount(path="a/b.c/"), mount(path="/a"), "mounts[0].path"),
        (mount(path="a/b"), mount(path="a/../b"), "mounts[0].path"),
        (mount(path=None), mount(path=""), "mounts[0].path"),
        (mount(path="a" * 512), mount(path="a" * 513), "mounts[0].path"),
        (mount(mount_path="/a/b.c-d_e"), mount(mount_path="/a:/b"), "mounts[0].mount_path"),
        (mount(mount_path="/a"), mount(mount_path="/"), "mounts[0].mount_path"),
        (mount(mount_path="/a"), mount(mount_path="a"), "mounts[0].mount_path"),
        (mount(mount_path="/a/b"), mount(mount_path="/a/../b"), "mounts[0].mount_path"),
        (mount(mount_path="/a/b"), mount(mount_path="/a//b"), "mounts[0].mount_path"),
        (mount(mount_path="/processes"), mount(mount_path="/proc/self"), "mounts[0].mount_path"),
        (mount(mount_path="/system"), mount(mount_path="/sys"), "mounts[0].mount_path"),
        (mount(mount_path="/a/dev"), mount(mount_path="/dev"), "mounts[0].mount_path"),
        (mount(mount_path="/" + "a" * 254), mount(mount_path="/" + "a" * 255), "mounts[0].mount_path"),
        (mount(read_only=False), mount(read_only="no"), "mounts[0].read_only"),
        (mount(), mount(mount_options=["-o rw"]), "mounts[0].mount_options"),
        ({"task_count": 1}, {"task_count": 0}, "task_count"),
        ({"task_count": 1000}, {"task_count": 1001}, "task_count"),
        ({"parallelism": 1}, {"parallelism": 0}, "parallelism"),
        ({"parallelism": 1000}, {"parallelism": 1001}, "parallelism"),
        ({"priority": 0}, {"priority": -1}, "priority"),
        ({"priority": 99}, {"priority": 100}, "priority"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_every_limit_at_its_edge(edge: dict[str, Any], beyond: dict[str, Any], named: str) -> None:
    parse({**LEAST, **edge})
    field, reason = refusal(beyond)
    assert field == named
    assert reason.startswith(("must ", "can't ", "is ", "'"))
    assert "pattern" not in reason


@pytest.mark.parametrize(
    "fields",
    [
        {"profile": "small", "machine_type": "e2-micro"},
        {"profile": "small", **size(250, 256)},
        {"machine_type": "e2-micro", **size(250, 256)},
    ],
)
def test_a_size_is_said_in_one_way(fields: dict[str, Any]) -> None:
    assert refusal(fields) == ("body", "must have at most one of resources, profile and machine_type")
    nulls = dict.fromkeys(("resources", "profile", "machine_type"))
    for name, value in fields.items():
        parse({**LEAST, **nulls, name: value})


@pytest.mark.parametrize(
    ("fields", "profile"),
    [
        ({}, "medium"),
        ({"profile": "large"}, "large"),
        (size(250, 256), None),
        ({"machine_type": "e2-micro"}, None),
    ],
)
def test_a_job_is_medium_unless_it_says_otherwise(fields: dict[str, Any], profile: str | None) -> None:
    assert parse({**LEAST, **fields}).spec().profile == profile


def test_mounts_can_be_read_only() -> None:
    (stored,) = parse({**LEAST, **mount()}).spec(ACCOUNT).mounts
    assert stored == Mount(bucket="inputs", path=None, mount_path="/data", read_only=True)


@pytest.mark.parametrize("fields", [{"secret_env": {"A": VERSION}}, mount()])
def test_secrets_and_mounts_need_an_account_of_the_tenants_own(fields: dict[str, Any]) -> None:
    request = parse({**LEAST, **fields})
    with pytest.raises(InvalidArgument) as caught:
        request.spec()
    (field,) = fields
    assert caught.value.message == (
        f"{field}: needs a service account of your own: ask the operator of this platform for one"
    )
    assert request.spec(ACCOUNT).service_account == ACCOUNT


def test_the_account_is_recorded_whatever_is_asked_for() -> None:
    assert parse(LEAST).spec(ACCOUNT).service_account == ACCOUNT
    assert parse(LEAST).spec().service_account is None


@pytest.mark.parametrize(
    "name",
    [
        *("service_account", "serviceAccount", "network", "notifications", "pubsub_topic", "logs_policy"),
        *("allocation_policy", "options", "volumes", "tags", "location", "instance_template"),
    ],
)
def test_what_is_the_platforms_is_no_field(name: str) -> None:
    assert refusal({name: "x"}) == (name, "is no field of this request")


# Put together here, so that no scanner takes this file for a leak.
SECRETS = {
    "private key": "-----BEGIN " + "PRIVATE KEY-----\nMIIE",
    "rsa": "x\n-----BEGIN RSA " + "PRIVATE KEY-----",
    "openssh": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "pgp": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "google key file": '{"private_key": "-----BEGIN ' + 'PRIVATE KEY-----\\nMIIE"}',
    "aws": "id=AKIA" + "IOSFODNN7EXAMPLE",
    "aws session": "ASIA" + "Z" * 16,
    "google api": "AIza" + "x" * 35,
    "google token": "ya29." + "x" * 40,
    "google oauth client": "GOCSPX-" + "x" * 28,
    "github": "ghp_" + "x" * 36,
    "github app": "ghs_" + "x" * 36,
    "github fine-grained": "github_pat_" + "x" * 60,
    "slack": "xoxb-" + "1" * 12,
    "slack app": "xapp-1-" + "A" * 12,
    "slack hook": "https://hooks.slack.com/services/" + "T0/B0/x",
    "jwt": "eyJhbGciOiJFUzI1NiJ9" + ".eyJzdWIiOiJhbm4ifQ." + "x" * 86,
    "gitlab": "glpat-" + "x" * 20,
    "npm": "npm_" + "x" * 36,
    "stripe": "sk_live_" + "x" * 24,
    "stripe restricted": "rk_live_" + "x" * 24,
    "anthropic": "sk-ant-" + "api03-" + "x" * 90,
    "openai": "sk-proj-" + "x" * 48,
    "sendgrid": "SG." + "x" * 22 + "." + "y" * 43,
    "hugging face": "hf_" + "x" * 34,
    "digitalocean": "dop_v1_" + "0" * 64,
    "azure storage": "AccountName=a;AccountKey=" + "x" * 86 + "==;EndpointSuffix=core.windows.net",
}


@pytest.mark.parametrize("value", SECRETS.values(), ids=list(SECRETS))
def test_what_looks_like_a_secret_is_refused_with_advice(value: str) -> None:
    field, reason = refusal({"env": {"OK": "x", "PLAIN": value}})
    assert field == "env.PLAIN"
    assert "Secret Manager" in reason
    assert "secret_env" in reason
    assert value not in reason
    assert refusal({"env": {"PLAIN": f"before {value} after"}})[0] == "env.PLAIN"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSWORD", "hunter2"),
        ("AWS_SECRET_ACCESS_KEY", "see secret_env"),
        ("TOKEN", ""),
        ("CERTIFICATE", "-----BEGIN CERTIFICATE-----\nMIIE"),
        ("PUBLIC", "-----BEGIN PUBLIC KEY-----"),
        ("WORD", "AKIA"),
        ("HASH", "0123456789abcdef" * 4),
        ("PREFIX", "ghp_ xox- AIza ya29. eyJ glpat- npm_ sk_live_ sk-ant- SG. hf_ dop_v1_ AccountKey="),
        ("TEST", "sk_test_" + "x" * 24),
        ("SEGMENT", "eyJhbGciOiJFUzI1NiJ9"),
        ("URL", "postgres://user:$PASSWORD@db/main"),
    ],
)
def test_nothing_is_refused_for_its_name_or_for_a_beginning_alone(name: str, value: str) -> None:
    parse({**LEAST, "env": {name: value}})


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "busybox:1.36",
        "library/busybox",
        "docker.io/library/busybox:latest",
        "localhost:5000/a/b",
        "us-docker.pkg.dev/my-project/repo/image@sha256:" + "0" * 64,
        "us-docker.pkg.dev/my-project/repo/image:v1@sha256:" + "0" * 64,
        "gcr.io/a.b/c__d/e--f_g",
        "registry.example.com:443/x:A.b-c_9",
    ],
)
def test_references_of_images(image: str) -> None:
    parse({"image_uri": image})


@pytest.mark.parametrize(
    "image",
    [
        *(
            "a b",
            "a\nb",
            "-v",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "a:",
            "a@",
            "a@sha256",
            "a@sha256:xyz",
            "a@sha256:" + "0" * 31,
            "Busy",
            "Busy:1",
            "a:b:c/d e",
        ),
        *(
            "https://docker.io/a",
            "é",
            "a$(id)",
            "a;b",
            "a\n",
            "a/B",
            "a:-b",
            ".",
            "a/.b",
            "a?x=1",
            "a#b",
            "a%20b",
        ),
    ],
)
def test_what_is_no_reference_of_an_image(image: str) -> None:
    field, reason = refusal({"image_uri": image})
    assert (field, "reference of an image" in reason) == ("image_uri", True)
