"""ETags: who has a job as it is need not be sent it again."""

from __future__ import annotations

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from tests.integration.http_api.callers import Caller, Server


def test_what_is_known_is_not_sent_again(server: Server, ann: Caller) -> None:
    job = ann.submitted()
    path = f"/v1/jobs/{job['job_id']}"
    first = ann.get(path)
    tag = first.headers["ETag"]
    assert tag.startswith('"1-')
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            again = ann.call(method, path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
            assert again.headers["Cache-Control"] == "no-store"
    # A touch changes what is shown, and no version.
    with server.database.batch() as batch:
        columns = ("TenantId", "JobId", "StatusDetail")
        batch.update("Jobs", columns, [(job["tenant_id"], job["job_id"], "paused: it waits")])
    touched = ann.call("GET", path, headers={"If-None-Match": tag})
    assert (touched.status_code, touched.headers["ETag"] != tag) == (200, True)
    ann.call("POST", f"{path}:cancel")
    cancelled = ann.call("GET", path, headers={"If-None-Match": touched.headers["ETag"]})
    assert (cancelled.status_code, cancelled.json()["version"]) == (200, 2)
    assert cancelled.headers["ETag"].startswith('"2-')
    # So does what becomes known of an attempt.
    with server.database.batch() as batch:
        names = ("TenantId", "JobId", "Attempt", "CreatedAt", "LastIgnored")
        row = (job["tenant_id"], job["job_id"], 1, COMMIT_TIMESTAMP, "late")
        batch.insert_or_update("JobAttempts", names, [row])
    noted = ann.call("GET", path, headers={"If-None-Match": cancelled.headers["ETag"]})
    assert noted.status_code == 200


@pytest.mark.parametrize("tag", ["", '"', "nonsense", '"1-0000000000000000"', "W/"])
def test_a_tag_that_is_none_of_ours_changes_nothing(ann: Caller, tag: str) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    assert ann.call("GET", path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("condition", ['"zzz"', "*", ""])
def test_a_condition_for_writing_is_none_of_a_read(ann: Caller, condition: str) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    tag = ann.get(path).headers["ETag"]
    answer = ann.call("GET", path, headers={"If-Match": condition})
    assert (answer.status_code, answer.headers["ETag"]) == (200, tag)
    both = ann.call("GET", path, headers={"If-Match": condition, "If-None-Match": tag})
    assert both.status_code == 304


def test_a_known_tag_opens_no_foreign_job(ann: Caller, bob: Caller) -> None:
    path = f"/v1/jobs/{ann.submitted()['job_id']}"
    tag = ann.get(path).headers["ETag"]
    for known in (tag, "*"):
        answer = bob.call("GET", path, headers={"If-None-Match": known})
        assert (answer.status_code, "ETag" in answer.headers) == (404, False)
