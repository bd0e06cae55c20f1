"""The doctor's look at Spanner and Batch: whether they answer, the schema, and what is due."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from google.api_core import exceptions
from google.cloud import batch_v1, spanner
from google.cloud.spanner_v1 import KeyRange, KeySet
from google.cloud.spanner_v1.database import Database

from jennah.operations.description import compare, describe, read_expected
from jennah.operations.doctor import CALL_SECONDS, Finding, Service, Verdict
from jennah.operations.migrate import survey
from jennah.operations.pause import Switch
from jennah.operations.reach import unanswered
from jennah.operations.sql import SchemaError, schema_directory
from jennah.render import duration, timestamp
from shared.batch_client import connect as connect_batch
from shared.config import Settings
from shared.database import connect
from shared.rows import CHECK_SHARDS

_ASK: Final[dict[str, Any]] = {"retry": None, "timeout": CALL_SECONDS}
_MOST_DUE: Final = 10_000
_NEEDED: Final = {
    "spanner.databases.select": "roles/spanner.databaseReader",
    "spanner.databases.write": "roles/spanner.databaseUser",
    "spanner.databases.updateDdl": "roles/spanner.databaseAdmin",
}


def spanner_service(settings: Settings) -> Service:
    """Spanner, or its emulator."""
    host = settings.spanner_emulator_host
    emulator = ("SPANNER_EMULATOR_HOST", host) if host else None
    role = "roles/spanner.databaseReader"
    return Service("Spanner", "spanner.googleapis.com", role, settings.project, emulator)


def batch_service(settings: Settings) -> Service:
    """Batch, or its stand-in."""
    host = settings.batch_emulator_host
    emulator = ("BATCH_EMULATOR_HOST", host) if host else None
    return Service("Batch", "batch.googleapis.com", "roles/batch.jobsViewer", settings.project, emulator)


def database_findings(settings: Settings) -> Iterator[Finding]:
    """Instance and database, and whether the schema is this release's."""
    service, check = spanner_service(settings), "database"
    if service.emulator and (problem := unanswered(*service.emulator)):
        yield Finding(check, Verdict.UNREACHABLE, problem.partition(": ")[0], "make up")
        return
    client = _client(settings)
    instance = f"projects/{settings.project}/instances/{settings.spanner_instance}"
    name, short = f"{instance}/databases/{settings.spanner_database}", settings.spanner_database
    try:
        client.instance_admin_api.get_instance(name=instance, **_ASK)
    except exceptions.NotFound:
        create = (
            f"gcloud spanner instances create {settings.spanner_instance} --description=Jennah "
            f"--config=regional-{settings.region} --processing-units=100 --project={settings.project}"
        )
        found = f"there is no Spanner instance {settings.spanner_instance}"
        yield Finding(check, Verdict.TO_FIX, found, service.fix(create))
        return
    try:
        client.database_admin_api.get_database(name=name, **_ASK)
    except exceptions.NotFound:
        found = f"there is no database {short} in the instance {settings.spanner_instance}"
        yield Finding(check, Verdict.TO_FIX, found, "jennah migrate --create")
        return
    yield Finding(check, Verdict.WELL, f"{settings.spanner_instance}/{short} answers")
    yield _schema(_database(settings))


def permission_findings(settings: Settings) -> Iterator[Finding]:
    """Whether the operator may do with the database what operators' commands do."""
    check, service = "permissions on the database", spanner_service(settings)
    if service.emulator:
        yield Finding(check, Verdict.NOT_APPLICABLE, "the emulator lets everybody do everything")
        return
    instance = f"projects/{settings.project}/instances/{settings.spanner_instance}"
    resource = f"{instance}/databases/{settings.spanner_database}"
    request = {"resource": resource, "permissions": list(_NEEDED)}
    try:
        answer = _client(settings).database_admin_api.test_iam_permissions(request=request, **_ASK)
    except exceptions.NotFound:
        return  # the check of the database says so
    missing = [permission for permission in _NEEDED if permission not in answer.permissions]
    for permission in missing:
        yield Finding(
            check, Verdict.TO_FIX, f"your account lacks {permission}", service.grant(_NEEDED[permission])
        )
    if not missing:
        yield Finding(check, Verdict.WELL, "rows and schema can be read and changed")


def work_findings(settings: Settings, now: datetime) -> Iterator[Finding]:
    """What is due, and whether dispatch is paused: nothing here is wrong by itself."""
    service = spanner_service(settings)
    if service.emulator and unanswered(*service.emulator):
        return  # the check of the database says so
    database = _database(settings)
    try:
        due = _due(database, now)
        switch = Switch.read(database)
    except exceptions.NotFound:
        return  # as is the lack of the database, or of its tables
    if due:
        count = f"more than {_MOST_DUE:,}" if len(due) > _MOST_DUE else f"{len(due):,}"
        oldest = f"the oldest since {timestamp(min(due))}, {duration((now - min(due)).total_seconds())}"
        yield Finding("backlog", Verdict.INFORMATION, f"{count} jobs are due for a check, {oldest}")
    else:
        yield Finding("backlog", Verdict.INFORMATION, "no job is due for a check")
    fix = "jennah resume" if switch.paused else ""
    yield Finding("dispatch", Verdict.INFORMATION, str(switch).rstrip("."), fix)


def batch_findings(settings: Settings) -> Iterator[Finding]:
    """Whether Batch answers in the region of new jobs."""
    check, service = "Batch", batch_service(settings)
    if service.emulator and (problem := unanswered(*service.emulator)):
        yield Finding(check, Verdict.UNREACHABLE, problem.partition(": ")[0], "make up")
        return
    request = batch_v1.ListJobsRequest(parent=settings.batch_parent, page_size=1)
    try:
        connect_batch(settings.batch_emulator_host).list_jobs(request, **_ASK)
    except (exceptions.NotFound, exceptions.InvalidArgument) as error:
        found = f"Batch knows no {settings.batch_parent} ({error.message})"
        fix = f"gcloud compute regions list --project={settings.project} (then JENNAH_REGION)"
        yield Finding(check, Verdict.TO_FIX, found, fix)
    else:
        yield Finding(check, Verdict.WELL, f"answers in {settings.region}")


def _schema(database: Database) -> Finding:
    check = "schema"
    try:
        directory = schema_directory()
        pending = survey(database, directory).pending
        differences = [d for d in compare(read_expected(directory), describe(database)) if not d.harmless]
    except SchemaError as error:
        return Finding(check, Verdict.TO_FIX, str(error).rstrip("."), "jennah check-schema")
    if pending:
        found = f"{len(pending)} migrations are not applied, the first is {pending[0].version:04}"
        return Finding(check, Verdict.TO_FIX, found, "jennah migrate")
    if differences:
        found = f"{differences[0].where} is {differences[0].found}, not {differences[0].expected}"
        return Finding(check, Verdict.TO_FIX, found, "jennah check-schema")
    return Finding(check, Verdict.WELL, "this release's")


def _due(database: Database, now: datetime) -> list[datetime]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    ranges = [KeyRange(start_closed=[shard, epoch], end_closed=[shard, now]) for shard in range(CHECK_SHARDS)]
    with database.snapshot() as snapshot:
        rows = snapshot.read(
            "Jobs",
            ["NextCheckAt"],
            KeySet(ranges=ranges),
            index="JobsByNextCheck",
            limit=_MOST_DUE + 1,
            timeout=CALL_SECONDS,
        )
        return [at for (at,) in rows]


def _database(settings: Settings) -> Database:
    if settings.spanner_emulator_host:
        # The emulator (1.5.28) breaks concurrent read-write transactions on multiplexed sessions.
        os.environ["GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW"] = "false"
    return connect(settings.project, settings.spanner_instance, settings.spanner_database)


def _client(settings: Settings) -> Any:
    return spanner.Client(project=settings.project, disable_builtin_metrics=True)
