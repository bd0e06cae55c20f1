"""What only a tenant with an account of its own may ask for, and what an operator's image policy refuses."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Processes
from tests.integration.api_process import running_api
from tests.integration.http_api.callers import Caller, Server, caller, refused
from tests.submissions import ACCOUNT

SECRETS = {"secret_env": {"TOKEN": "projects/p/secrets/s/versions/1"}}
MOUNTS = {"mounts": [{"bucket": "inputs", "mount_path": "/data"}]}
PINNED = "gcr.io/p/i@sha256:" + "0" * 64


@pytest.fixture
def team(server: Server) -> Caller:
    """A tenant for whom an operator has set an account."""
    subject = uuid.uuid4().hex
    columns = ("TenantId", "OAuthProvider", "OAuthUserId", "JobServiceAccount", "CreatedAt", "UpdatedAt")
    with server.database.batch() as batch:
        row = (str(uuid.uuid4()), "local", subject, ACCOUNT, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)
        batch.insert("Tenants", columns, [row])
    return caller(server, sub=subject)


@pytest.mark.parametrize("fields", [SECRETS, MOUNTS, SECRETS | MOUNTS])
def test_a_tenant_without_an_account_is_told_whom_to_ask(ann: Caller, fields: dict[str, Any]) -> None:
    error = refused(
        ann.submit({"image_uri": "busybox", **fields}), 400, "INVALID_ARGUMENT", next(iter(fields))
    )
    assert "ask the operator" in error["message"]
    batch = {"requests": [{"image_uri": "busybox"}, {"image_uri": "busybox", **fields}]}
    answer = ann.call("POST", "/v1/jobs:batchCreate", json=batch)
    refused(answer, 400, "INVALID_ARGUMENT", f"requests[1].{next(iter(fields))}")
    assert ann.listed() == []


def test_the_account_is_recorded_with_the_job_and_shown_to_nobody(server: Server, team: Caller) -> None:
    asked = {**SECRETS, **MOUNTS}
    answer = team.submit({"image_uri": "busybox", **asked})
    assert answer.status_code == 201
    job = answer.json()
    assert job["secret_env"] == SECRETS["secret_env"]
    assert job["mounts"] == [{"bucket": "inputs", "path": None, "mount_path": "/data", "read_only": True}]
    shown = team.get(f"/v1/jobs/{job['job_id']}")
    assert ACCOUNT not in answer.text + shown.text + team.get("/v1/jobs").text
    with server.database.snapshot() as snapshot:
        key = KeySet(keys=[(job["tenant_id"], job["job_id"])])
        ((spec,),) = snapshot.read("Jobs", ["Spec"], key)
    assert spec["service_account"] == ACCOUNT


@pytest.mark.parametrize("name", ["service_account", "network", "notifications", "job_service_account"])
def test_no_request_names_what_is_the_platforms(team: Caller, name: str) -> None:
    refused(team.submit({"image_uri": "busybox", name: "x"}), 400, "INVALID_ARGUMENT", name)


@pytest.fixture(scope="module")
def strict(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The function of a deployment that runs pinned images of one registry only."""
    with running_api(
        spanner_instance,
        processes,
        tmp_path_factory.mktemp("strict"),
        {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host},
        settings={
            "JENNAH_ADMIT": "everyone",
            "JENNAH_IMAGE_REGISTRIES": json.dumps(["gcr.io/p"]),
            "JENNAH_IMAGE_DIGESTS": "required",
        },
    ) as api:
        yield Server(api.client, api.issuers[0], api.database)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("busybox", "must be an image from gcr.io/p"),
        ("gcr.io/p-evil/i@sha256:" + "0" * 64, "must be an image from gcr.io/p"),
        ("gcr.io/p/i:latest", "must be pinned by its digest"),
    ],
)
def test_an_image_against_the_policy_is_refused(strict: Server, image: str, reason: str) -> None:
    someone = caller(strict)
    error = refused(someone.submit({"image_uri": image}), 400, "INVALID_ARGUMENT", "image_uri")
    assert reason in error["message"]
    batch = {"requests": [{"image_uri": PINNED}, {"image_uri": image}]}
    answer = someone.call("POST", "/v1/jobs:batchCreate", json=batch)
    refused(answer, 400, "INVALID_ARGUMENT", "requests[1].image_uri")
    assert someone.listed() == []
    assert someone.submit({"image_uri": PINNED}).status_code == 201
