"""Databases that were made by hand, with rows in them."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.spanner_v1 import KeySet
from google.cloud.spanner_v1.database import Database

from jennah.operations import adoption
from jennah.operations.description import compare, describe, read_expected
from jennah.operations.migrate import Migrated, PreflightFailed, migrate
from jennah.operations.preflight_rows import LISTED, STATUSES
from jennah.operations.sql import SchemaError, schema_directory

PARENT = "projects/example/locations/us-central1"
LIVE = {"SCHEDULED", "RUNNING"}

# As documentation of the first version reads.
PLAIN = (
    """CREATE TABLE Tenants (
        TenantId STRING(36) NOT NULL, UserEmail STRING(255), OAuthProvider STRING(50),
        OAuthUserId STRING(255), CreatedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
        UpdatedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
    ) PRIMARY KEY (TenantId)""",
    """CREATE TABLE Jobs (
        TenantId STRING(36) NOT NULL, JobId STRING(36) NOT NULL, Status STRING(50) NOT NULL,
        ImageUri STRING(1024), Commands ARRAY<STRING(MAX)>,
        CreatedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
        UpdatedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
        ScheduledAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
        StartedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
        CompletedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true),
        RetryCount INT64 DEFAULT (0), ErrorMessage STRING(MAX),
    ) PRIMARY KEY (TenantId, JobId), INTERLEAVE IN PARENT Tenants ON DELETE CASCADE""",
    """CREATE TABLE JobStateTransitions (
        TenantId STRING(36) NOT NULL, JobId STRING(36) NOT NULL, TransitionId STRING(36) NOT NULL,
        FromStatus STRING(50), ToStatus STRING(50) NOT NULL,
        TransitionedAt TIMESTAMP OPTIONS (allow_commit_timestamp = true), Reason STRING(MAX),
    ) PRIMARY KEY (TenantId, JobId, TransitionId), INTERLEAVE IN PARENT Jobs ON DELETE CASCADE""",
)

# The same by other hands: other order, no options, other nullability and lengths, indexes of their own.
ODD = (
    """CREATE TABLE Tenants (
        OAuthUserId STRING(MAX), OAuthProvider STRING(50) NOT NULL, TenantId STRING(36) NOT NULL,
        UserEmail STRING(100), CreatedAt TIMESTAMP NOT NULL, UpdatedAt TIMESTAMP, Plan STRING(20),
    ) PRIMARY KEY (TenantId)""",
    "CREATE INDEX TenantsByWho ON Tenants (OAuthProvider, OAuthUserId)",
    """CREATE TABLE Jobs (
        TenantId STRING(36) NOT NULL, JobId STRING(36) NOT NULL, Status STRING(20),
        Commands ARRAY<STRING(4096)>, ImageUri STRING(MAX),
        CreatedAt TIMESTAMP NOT NULL OPTIONS (allow_commit_timestamp = true), UpdatedAt TIMESTAMP,
        ScheduledAt TIMESTAMP, StartedAt TIMESTAMP, CompletedAt TIMESTAMP,
        ErrorMessage STRING(10000), RetryCount INT64,
    ) PRIMARY KEY (TenantId, JobId), INTERLEAVE IN PARENT Tenants ON DELETE NO ACTION""",
    "CREATE INDEX JobsByStatus ON Jobs (Status)",
    """CREATE TABLE JobStateTransitions (
        TenantId STRING(36) NOT NULL, JobId STRING(36) NOT NULL, TransitionId STRING(64) NOT NULL,
        ToStatus STRING(50) NOT NULL, FromStatus STRING(50), Reason STRING(1000), TransitionedAt TIMESTAMP,
    ) PRIMARY KEY (TenantId, JobId, TransitionId), INTERLEAVE IN PARENT Jobs ON DELETE CASCADE""",
)

SECOND = (
    "ALTER TABLE Jobs ADD COLUMN MaxRetries INT64 NOT NULL DEFAULT (3)",
    "ALTER TABLE Jobs ADD COLUMN GcpBatchJobName STRING(1024)",
)

# The second version by other hands lacks MaxRetries: what a version lacks in part is added.
SHAPES = {
    "version 1": PLAIN,
    "version 2": PLAIN + SECOND,
    "version 1, other hands": ODD,
    "version 2, other hands": (*ODD, "ALTER TABLE Jobs ADD COLUMN GcpBatchJobName STRING(MAX)"),
}

TENANT = {
    "TenantId": "4f9f7fe6-7e2c-4c39-8f0b-6a2f3b0a9a01",
    "OAuthProvider": "google",
    "OAuthUserId": "1",
    "CreatedAt": datetime(2025, 1, 1, tzinfo=UTC),
}


def make(database: Database, ddl: tuple[str, ...], tables: dict[str, list[dict[str, Any]]]) -> None:
    if ddl:
        database.update_ddl(list(ddl)).result(30)
    columns = {name: set(table.columns) for name, table in describe(database).tables.items()}
    if not tables:
        return
    with database.batch() as batch:
        for table, rows in tables.items():
            for row in rows:
                kept = {column: value for column, value in row.items() if column in columns[table]}
                batch.insert(table, list(kept), [list(kept.values())])


def some_jobs(count: int = 200) -> dict[str, list[dict[str, Any]]]:
    """Every status, NULLs, text of all scripts, commands of every shape, history under random ids."""
    chance = random.Random(2)

    def some(value: object) -> object:
        return value if chance.random() < 0.7 else None

    def moment() -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(10**13))

    def identifier() -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    texts = ("", "plain", "naïve Ünï", "日本語", "🚀\n\ttab", "'; DROP TABLE Jobs; --", "\u202e", "x" * 900)
    tenants = [
        {
            "TenantId": identifier(),
            "UserEmail": some(f"{position}@example.com"),
            "OAuthProvider": "google",
            "OAuthUserId": str(position) if position else None,
            "CreatedAt": moment(),
            "UpdatedAt": some(moment()),
        }
        for position in range(10)
    ]
    jobs: list[dict[str, Any]] = []
    history: list[dict[str, Any]] = []
    for position in range(count):
        job_id = identifier()
        tenant_id = tenants[position % 10]["TenantId"]
        job = {
            "TenantId": tenant_id,
            "JobId": job_id,
            "Status": STATUSES[position % 6],
            "ImageUri": some(chance.choice(texts)),
            "Commands": some([chance.choice(texts) for _ in range(chance.randrange(4))]),
            "CreatedAt": moment(),
            "RetryCount": some(chance.randrange(4)),
            "MaxRetries": chance.randrange(5),
            "ErrorMessage": some(chance.choice(texts)),
            "GcpBatchJobName": chance.choice(
                (f"projects/old/locations/asia-northeast1/jobs/jennah-{job_id[:8]}",) * 3 + ("", None)
            ),
        }
        job |= {name: some(moment()) for name in ("UpdatedAt", "ScheduledAt", "StartedAt", "CompletedAt")}
        jobs.append(job)
        history += [
            {
                "TenantId": tenant_id,
                "JobId": job_id,
                "TransitionId": identifier(),
                "FromStatus": some("PENDING"),
                "ToStatus": job["Status"],
                "TransitionedAt": some(moment()),
                "Reason": some(chance.choice(texts)),
            }
            for _ in range(position % 3)
        ]
    return {"Tenants": tenants, "Jobs": jobs, "JobStateTransitions": history}


def everything(database: Database) -> dict[str, dict[tuple[str, ...], dict[str, Any]]]:
    """Every row of every table, by its key."""
    contents = {}
    for name, table in describe(database).tables.items():
        columns = list(table.columns)
        with database.snapshot() as snapshot:
            found = list(snapshot.read(name, columns, KeySet(all_=True)))
        rows = [dict(zip(columns, row, strict=True)) for row in found]
        contents[name] = {tuple(row[column] for column in table.key): row for row in rows}
    return contents


def is_adopted(database: Database, before: dict[str, Any], done: Migrated, *, resumed: bool = False) -> None:
    """Compare every original column of every row, then what was added."""
    after = everything(database)
    now = datetime.now(UTC)
    for table in ("Tenants", "JobStateTransitions"):
        for key, row in before[table].items():
            assert after[table][key].items() >= row.items()
    failed = {
        key
        for key, row in before["Jobs"].items()
        if (row["Status"] == "PENDING" and not resumed)
        or (row["Status"] in LIVE and not row.get("GcpBatchJobName"))
    }
    for key, row in before["Jobs"].items():
        changed = after["Jobs"][key]
        if key in failed:
            started = now - timedelta(minutes=5)
            assert changed["CompletedAt"] == changed["UpdatedAt"] > started
            documented = {"CompletedAt", "UpdatedAt"}
            row = row | {"Status": "FAILED", "ErrorMessage": "predates this system"}  # noqa: PLW2901
            assert {k: v for k, v in changed.items() if k in row and k not in documented} == {
                k: v for k, v in row.items() if k not in documented
            }
        else:
            assert changed.items() >= row.items()
        assert changed["Attempt"] == (row["RetryCount"] or 0) + 1
        assert changed["Version"] == (1 if key in failed else 0)
        live = row["Status"] in LIVE | {"PENDING"} and key not in failed
        attempt = after["JobAttempts"].get((*key, changed["Attempt"]))
        if live:
            name = row.get("GcpBatchJobName")
            assert changed["NextCheckAt"] <= now
            assert changed["BatchParent"] == ("projects/old/locations/asia-northeast1" if name else PARENT)
        else:
            assert changed["NextCheckAt"] is changed["BatchParent"] is None
        waits = live and row["Status"] == "PENDING"
        assert changed["NotBefore"] == (changed["NextCheckAt"] if waits else None)
        if live and not waits:
            assert attempt is not None
            assert attempt["GcpBatchJobName"] == row["GcpBatchJobName"]
            assert attempt["CreatedAt"] == row["ScheduledAt"] or row["ScheduledAt"] is None
        else:
            assert attempt is None
    new = after["JobStateTransitions"].keys() - before["JobStateTransitions"].keys()
    assert new == {(*key, "0" * 19 + "1") for key in failed}
    for key in new:
        audit = after["JobStateTransitions"][key]
        assert (audit["FromStatus"], audit["ToStatus"]) == (before["Jobs"][key[:2]]["Status"], "FAILED")
        assert (audit["Actor"], audit["Reason"]) == ("operator", "predates this system")
        job = after["Jobs"][key[:2]]
        assert (audit["TransitionedAt"], audit["Attempt"]) == (job["CompletedAt"], job["Attempt"])
    live_count = sum(row["Status"] in LIVE or row["Status"] == "PENDING" for row in before["Jobs"].values())
    assert (done.adopted.failed, done.adopted.live) == (len(failed), live_count - len(failed))
    assert [d for d in compare(read_expected(schema_directory()), describe(database)) if not d.harmless] == []


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ("version 1", 500),
        ("version 2", 200),
        ("version 1, other hands", 200),
        ("version 2, other hands", 200),
    ],
)
def test_every_value_is_kept(empty_database: Database, shape: str, count: int) -> None:
    make(empty_database, SHAPES[shape], some_jobs(count))
    before = everything(empty_database)
    lines: list[str] = []
    done = migrate(empty_database, batch_parent=PARENT, progress=lines.append)
    is_adopted(empty_database, before, done)
    total = done.adopted.live + done.adopted.failed
    assert f"took over {total} of {total} jobs" in lines
    after = everything(empty_database)
    assert migrate(empty_database, batch_parent=PARENT).adopted == adoption.Adopted()
    assert everything(empty_database) == after


def test_pending_jobs_can_be_resumed(empty_database: Database) -> None:
    make(empty_database, PLAIN + SECOND, some_jobs())
    before = everything(empty_database)
    done = migrate(empty_database, batch_parent=PARENT, resume_pending=True)
    is_adopted(empty_database, before, done, resumed=True)


def test_resumes_wherever_it_was_interrupted(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):
        pass

    monkeypatch.setattr(adoption, "_PAGE", 10)
    make(empty_database, PLAIN, some_jobs())
    before = everything(empty_database)
    seen: set[str] = set()
    live = failed = 0

    def interrupt(line: str) -> None:
        if line not in seen:
            seen.add(line)
            raise Interrupted

    while True:
        try:
            migrate(empty_database, batch_parent=PARENT, progress=interrupt)
        except Interrupted:
            continue
        break
    assert len(seen) > 17, "each file and each of ten pages"
    after = everything(empty_database)["Jobs"].values()
    failed = sum(row["Version"] == 1 for row in after)
    live = sum(row["NextCheckAt"] is not None for row in after)
    is_adopted(empty_database, before, Migrated(adopted=adoption.Adopted(live, failed)))


def test_migrators_side_by_side_take_over_each_job_once(empty_database: Database) -> None:
    make(empty_database, ODD, some_jobs())
    before = everything(empty_database)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: migrate(empty_database, batch_parent=PARENT), range(2)))
    live, failed = (sum(getattr(done.adopted, name) for done in both) for name in ("live", "failed"))
    is_adopted(empty_database, before, Migrated(adopted=adoption.Adopted(live, failed)))


def test_a_page_that_somebody_else_took_over_meanwhile_is_left_alone(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(empty_database, PLAIN, some_jobs(60))
    before = everything(empty_database)
    keys = [list(key) for key in before["Jobs"]]
    monkeypatch.setattr(adoption, "_pages", lambda _: [keys, keys])
    is_adopted(empty_database, before, migrate(empty_database, batch_parent=PARENT))


def test_rows_that_break_a_rule_stop_it_with_a_whole_list(empty_database: Database) -> None:
    def tenant(**changes: object) -> dict[str, Any]:
        return TENANT | {"TenantId": str(uuid.uuid4()), "OAuthUserId": str(uuid.uuid4())} | changes

    def job(**changes: object) -> dict[str, Any]:
        created = {"CreatedAt": datetime(2025, 1, 1, tzinfo=UTC), "Status": "COMPLETED"}
        return {"TenantId": TENANT["TenantId"], "JobId": str(uuid.uuid4())} | created | changes

    twins = [tenant(OAuthUserId="twin") for _ in range(3)]
    nobody = [tenant(OAuthUserId=None) for _ in range(2)]
    odd = [job(Status="Weird" if position else None) for position in range(LISTED + 6)]
    upper = job(JobId="UPPER-1", Status="RUNNING")
    unnamable = [tenant(TenantId="acme"), tenant(TenantId="4F9F7FE6-7E2C-4C39-8F0B-6A2F3B0A9A01")]
    harmless = [job(JobId="old-1"), job(JobId="old-2", Status="PENDING")]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    late = job(ScheduledAt=tomorrow)
    wide = job(ImageUri="x" * 1025)
    make(
        empty_database,
        ODD,
        {"Tenants": [TENANT, *twins, *nobody, *unnamable], "Jobs": [*odd, upper, *harmless, late, wide]},
    )
    before, schema = everything(empty_database), describe(empty_database)
    with pytest.raises(PreflightFailed, match="nothing was changed") as failure:
        migrate(empty_database, batch_parent=PARENT)

    report = failure.value.report
    by_place: dict[str, list[str]] = {}
    for problem in report.problems:
        assert problem.remedy
        by_place.setdefault(problem.where, []).append(f"{problem.key}: {problem.problem}")
    key = TENANT["TenantId"]
    ids = ", ".join(sorted(row["TenantId"] for row in twins))
    assert by_place["Tenants.OAuthUserId"] == [f"{ids}: share the identity 'twin' at 'google'"]
    assert by_place["Jobs.ScheduledAt"][0].startswith(f"{key}/{late['JobId']}: ")
    assert by_place["Jobs.ImageUri"] == [f"{key}/{wide['JobId']}: has 1025 characters, may have 1024"]
    statuses = by_place["Jobs.Status"]
    assert f"{key}/{odd[0]['JobId']}: is NULL" in statuses
    assert sum('"Weird" is no status' in line for line in statuses) == LISTED
    assert ": and 5 more rows of this kind" in statuses
    assert len(statuses) == LISTED + 2
    unnamed = "is no lower-case UUID: no Batch job can be named after it"
    assert by_place["Tenants.TenantId"] == [
        f"{tenant_id}: {unnamed}" for tenant_id in sorted(row["TenantId"] for row in unnamable)
    ]
    assert by_place["Jobs.JobId"] == [f"{key}/UPPER-1: is RUNNING, and its JobId {unnamed}"]
    assert report.notes == (
        (
            "1 SCHEDULED or RUNNING jobs name no Batch job, can't be followed, and become FAILED: "
            "look in Batch whether they still run."
        ),
        "2 tenants have no identity: nobody can sign in as them until they get one.",
    )
    assert (everything(empty_database), describe(empty_database)) == (before, schema)

    with pytest.raises(PreflightFailed) as failure:
        migrate(empty_database, batch_parent=PARENT, resume_pending=True)
    assert any("is PENDING, and its JobId" in problem.problem for problem in failure.value.report.problems)


BATCH_JOB = "projects/old/locations/asia-northeast1/jobs/j-1"

UNFIT = [
    ("GcpBatchJobName", "j-1"),
    ("GcpBatchJobName", "locations/asia-northeast1/jobs/j-1"),
    ("GcpBatchJobName", f"//batch.googleapis.com/{BATCH_JOB}"),
    ("GcpBatchJobName", f"{BATCH_JOB}/tasks"),
    ("GcpBatchJobName", f"{BATCH_JOB}\n"),
    ("GcpBatchJobName", " "),
    ("Commands", ["sh", None]),
    ("Commands", [None]),
    ("JobId", "JOB-7"),
]
"""A column, and a value with which a job can't go on."""


def unfit_jobs(*statuses: str) -> list[tuple[str, dict[str, Any]]]:
    """For each status and each of `UNFIT`: the column, and a job with that value in it."""
    fit = {"TenantId": TENANT["TenantId"], "GcpBatchJobName": BATCH_JOB, "Commands": ["sh", ""]}
    jobs = []
    for status in statuses:
        for column, value in UNFIT:
            job = fit | {"JobId": str(uuid.uuid4()), "Status": status, column: value}
            if column == "JobId":
                job["JobId"] = f"{value}-{status}"
            jobs.append((column, job))
    return jobs


def problem_keys(failure: pytest.ExceptionInfo[PreflightFailed]) -> list[tuple[str, str]]:
    return sorted((problem.where, problem.key) for problem in failure.value.report.problems)


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("migrated", [False, True])
def test_jobs_that_could_not_go_on_stop_it(
    empty_database: Database, *, migrated: bool, resumed: bool
) -> None:
    """Whether the old system wrote them before the migration or after it; final jobs stop nothing."""
    make(empty_database, PLAIN + SECOND, {})
    if migrated:
        migrate(empty_database)
    unfit = unfit_jobs("SCHEDULED", "PENDING") if resumed else unfit_jobs("RUNNING")
    final = unfit_jobs("COMPLETED", "FAILED", "CANCELLED")
    make(empty_database, (), {"Tenants": [TENANT], "Jobs": [job for _, job in (*unfit, *final)]})
    before, schema = everything(empty_database), describe(empty_database)
    with pytest.raises(PreflightFailed, match="nothing was changed") as failure:
        migrate(empty_database, batch_parent=PARENT, resume_pending=resumed)
    assert problem_keys(failure) == sorted(
        (f"Jobs.{column}", f"{TENANT['TenantId']}/{job['JobId']}") for column, job in unfit
    )
    assert all(problem.remedy for problem in failure.value.report.problems)
    assert (everything(empty_database), describe(empty_database)) == (before, schema)


def test_waiting_jobs_that_could_not_go_on_are_failed_like_the_others(empty_database: Database) -> None:
    make(
        empty_database,
        PLAIN + SECOND,
        {"Tenants": [TENANT], "Jobs": [job for _, job in unfit_jobs("PENDING")]},
    )
    assert migrate(empty_database, batch_parent=PARENT).adopted == adoption.Adopted(failed=len(UNFIT))


def test_a_tenant_that_came_after_the_migration_is_judged_too(database: Database) -> None:
    make(database, (), {"Tenants": [TENANT | {"TenantId": "acme"}]})
    with pytest.raises(PreflightFailed) as failure:
        migrate(database)
    assert problem_keys(failure) == [("Tenants.TenantId", "acme")]


def test_rows_that_came_after_the_migration_are_taken_over_the_same_way(empty_database: Database) -> None:
    make(empty_database, PLAIN + SECOND, {})
    migrate(empty_database)
    make(empty_database, (), some_jobs(60))
    done = migrate(empty_database, batch_parent=PARENT, resume_pending=True)
    assert done.adopted.live > done.adopted.failed > 0
    assert done.notes[0].startswith(f"{done.adopted.failed} SCHEDULED or RUNNING jobs name no Batch job")


@pytest.mark.parametrize(
    ("ddl", "where"),
    [
        (("CREATE TABLE Tenants (TenantId INT64 NOT NULL) PRIMARY KEY (TenantId)",), "Tenants.TenantId"),
        (("CREATE TABLE Tenants (TenantId STRING(36)) PRIMARY KEY (TenantId)",), "Tenants.TenantId"),
        (
            (
                PLAIN[0],
                "CREATE TABLE Jobs (JobId STRING(36) NOT NULL, Status STRING(50)) PRIMARY KEY (JobId)",
            ),
            "Jobs",
        ),
        ((*PLAIN, "ALTER TABLE Jobs ADD COLUMN Version STRING(9)"), "Jobs.Version"),
        ((PLAIN[0].replace("UserEmail", "Plan INT64 NOT NULL, UserEmail"),), "Tenants.Plan"),
        ((*PLAIN, "CREATE UNIQUE INDEX ByEmail ON Tenants (UserEmail)"), "index.ByEmail"),
        ((ODD[0], "CREATE INDEX ByEmail ON Tenants (UserEmail)"), None),
        (
            (
                PLAIN[0].replace("STRING(255)", "STRING(255) NOT NULL"),
                "CREATE INDEX E ON Tenants (UserEmail)",
            ),
            "index.E",
        ),
        (
            (*PLAIN, "ALTER TABLE Jobs ADD CONSTRAINT JobsStatusIsKnown CHECK (Status != '')"),
            "Jobs.JobsStatusIsKnown",
        ),
    ],
)
def test_columns_that_cannot_be_altered_stop_it(
    empty_database: Database, ddl: tuple[str, ...], where: str | None
) -> None:
    make(empty_database, ddl, {})
    before = describe(empty_database)
    if where is None:
        migrate(empty_database)
        return
    with pytest.raises(PreflightFailed) as failure:
        migrate(empty_database)
    assert where in [problem.where for problem in failure.value.report.problems]
    assert describe(empty_database) == before


def test_live_jobs_need_to_know_where_they_run(empty_database: Database) -> None:
    make(empty_database, PLAIN, some_jobs())
    with pytest.raises(SchemaError, match=r"\d+ jobs are to be taken over"):
        migrate(empty_database)


def test_jobs_of_this_platform_are_not_taken_over(database: Database) -> None:
    """Nor are they judged: only jobs from before are."""
    now = datetime.now(UTC)
    job = {"TenantId": TENANT["TenantId"], "Status": "PENDING", "CreatedAt": now}
    ours = {"JobId": str(uuid.uuid4()), "Version": 1, "NextCheckAt": now}
    taken_over = {"JobId": "JOB-7", "Status": "RUNNING", "NextCheckAt": now}
    moved_on = {"JobId": "JOB-8", "Status": "RUNNING", "Version": 1}
    make(database, (), {"Tenants": [TENANT], "Jobs": [job | ours, job | taken_over, job | moved_on]})
    before = everything(database)
    assert migrate(database, resume_pending=True).notes == ()
    assert everything(database)["Jobs"] == before["Jobs"]
