"""Who am I here; and the end of it."""

from __future__ import annotations

from google.cloud.spanner_v1 import KeySet

from shared.model import is_uuid
from tests.integration.function_process import unchanged
from tests.integration.http_api.callers import Caller, Server, refused

FIELDS = ["tenant_id", "email", "provider", "subject", "created_at", "deleted_at", "limits", "usage"]


def test_a_tenant_is_shown(server: Server, ann: Caller) -> None:
    job = ann.submitted()
    with unchanged(server.database):
        answer = ann.get("/v1/tenant")
    tenant = answer.json()
    assert answer.status_code == 200
    assert list(tenant) == FIELDS
    assert is_uuid(tenant["tenant_id"])
    assert tenant["tenant_id"] == job["tenant_id"]
    assert tenant["email"].endswith("@example.com")
    assert (tenant["provider"], bool(tenant["subject"])) == ("local", True)
    assert tenant["created_at"] <= job["created_at"]
    assert tenant["deleted_at"] is None
    assert tenant["limits"] == dict.fromkeys(("open_jobs", "submissions_per_minute", "vcpu_in_flight"))
    assert tenant["usage"] == {"open_jobs": None, "vcpu_in_flight": None}  # what has no limit is not counted


def test_a_tenant_being_deleted_takes_no_jobs_at_once(server: Server, ann: Caller, bob: Caller) -> None:
    live, ended = ann.submitted(), ann.submitted()
    ann.call("POST", f"/v1/jobs/{ended['job_id']}:cancel")
    answer = ann.call("DELETE", "/v1/tenant")
    deleted = answer.json()
    assert (answer.status_code, list(deleted)) == (202, FIELDS)
    assert deleted["deleted_at"] > live["created_at"]
    with unchanged(server.database):
        refused(ann.submit(), 403, "PERMISSION_DENIED")
        refused(ann.call("POST", "/v1/jobs:batchCreate", json={"requests": [{"image_uri": "i"}]}), 403,
                "PERMISSION_DENIED")  # fmt: skip
        refused(ann.call("POST", f"/v1/jobs/{ended['job_id']}:retry"), 403, "PERMISSION_DENIED")
        # What is left may be seen, and once more changes nothing.
        assert ann.get(f"/v1/jobs/{live['job_id']}").status_code == 200
        assert ann.get("/v1/tenant").json() == deleted
        again = ann.call("DELETE", "/v1/tenant")
        assert (again.status_code, again.json()) == (202, deleted)
    assert ann.call("POST", f"/v1/jobs/{live['job_id']}:cancel").status_code == 200
    assert bob.submit().status_code == 201


def test_who_was_deleted_begins_anew(server: Server, ann: Caller) -> None:
    """A process that remembers the tenant finds out at the first submission."""
    first = ann.submitted()
    with server.database.batch() as batch:
        batch.delete("Tenants", KeySet(keys=[[first["tenant_id"]]]))
    refused(ann.get("/v1/tenant"), 404, "NOT_FOUND")
    refused(ann.call("DELETE", "/v1/tenant"), 404, "NOT_FOUND")
    second = ann.submitted()
    assert second["tenant_id"] != first["tenant_id"]
    assert ann.get("/v1/tenant").json()["tenant_id"] == second["tenant_id"]
    assert [job["job_id"] for job in ann.listed()] == [second["job_id"]]
