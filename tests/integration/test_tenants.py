"""One identity is one tenant, however its first requests race, and whatever the network does to a commit."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, JsonObject, KeySet
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from shared import tenants as tenants_module
from shared.callers import Admission, Identity
from shared.errors import NotFound, PermissionDenied, Unavailable
from shared.model import Tenant
from shared.tenants import CACHE_SECONDS, Tenants
from tests.integration.wire import Answers, Forward, Wire, applied_and_answer_lost, never_arrived

ANN = Identity("local", "ann", "ann@example.com", email_verified=True)
EVERYONE, NOBODY = Admission(everyone=True), Admission()


def rows(database: Database, *columns: str) -> list[list[object]]:
    with database.snapshot() as snapshot:
        return list(snapshot.read("Tenants", columns or ("TenantId",), KeySet(all_=True)))


def insert(database: Database, tenant_id: str, **columns: object) -> None:
    values = {"TenantId": tenant_id, "OAuthProvider": "local", "OAuthUserId": "ann", **columns}
    with database.batch() as batch:
        batch.insert_or_update("Tenants", list(values), [list(values.values())])


def create(tenants: Tenants, identity: Identity) -> Tenant:
    """What a submission does that is accepted."""
    tenant, stored = tenants.submitter(identity)
    while not stored:
        if not tenants.make(identity, tenant):
            tenants.forget(identity)
        tenant, stored = tenants.submitter(identity)
    return tenant


def test_the_first_submission_makes_the_tenant(database: Database) -> None:
    tenants = Tenants(database, EVERYONE)
    tenant = create(tenants, ANN)
    stored = rows(
        database, "TenantId", "UserEmail", "OAuthProvider", "OAuthUserId", "JobServiceAccount", "Limits"
    )
    assert stored == [[tenant.tenant_id, "ann@example.com", "local", "ann", None, None]]
    [(created_at, updated_at)] = rows(database, "CreatedAt", "UpdatedAt")
    assert created_at == updated_at is not None
    assert str(uuid.UUID(tenant.tenant_id)) == tenant.tenant_id
    for same in (tenants, Tenants(database, EVERYONE)):  # from the cache, and from the database
        assert create(same, ANN) == same.resolve(ANN) == tenant


def test_a_read_never_makes_one(database: Database) -> None:
    assert Tenants(database, EVERYONE).resolve(ANN) is None
    with pytest.raises(PermissionDenied):
        Tenants(database, NOBODY).resolve(ANN)
    assert rows(database) == []


def test_who_is_not_admitted_makes_none(database: Database) -> None:
    with pytest.raises(PermissionDenied):
        create(Tenants(database, NOBODY), ANN)
    assert rows(database) == []


def test_a_submission_that_is_refused_makes_none(database: Database) -> None:
    tenants = Tenants(database, EVERYONE)
    tenant, stored = tenants.submitter(ANN)
    assert not stored
    assert tenants.submitter(ANN) == (tenant, False)  # whose submissions count together
    assert tenants.resolve(ANN) is None
    assert rows(database) == []


def test_a_submission_that_is_refused_is_forgotten_in_time(database: Database) -> None:
    now = 0.0
    tenants = Tenants(database, EVERYONE, clock=lambda: now)
    first, _ = tenants.submitter(ANN)
    now = 60.0
    assert tenants.submitter(ANN)[0].tenant_id != first.tenant_id


ACCOUNT = "jobs@jennah-test.iam.gserviceaccount.com"


def remove(database: Database, tenant_id: str) -> None:
    """What reconciliation does in the end."""
    database.run_in_transaction(lambda transaction: tenants_module.remove(transaction, tenant_id))


@pytest.mark.parametrize("account", [None, ACCOUNT])
@pytest.mark.parametrize("limits", [None, {"open_jobs": 0}])
def test_what_an_operator_set_outlives_the_tenant(
    database: Database, account: str | None, limits: dict[str, int] | None
) -> None:
    insert(database, "first", JobServiceAccount=account, Limits=JsonObject(limits) if limits else None)
    remove(database, "first")
    with pytest.raises(PermissionDenied):  # nobody is admitted for it
        Tenants(database, NOBODY).resolve(ANN)
    assert Tenants(database, EVERYONE).resolve(ANN) is None
    kept = rows(database, "TenantId", "OAuthProvider", "OAuthUserId", "UserEmail", "DeletedAt")
    assert [row[1:] for row in kept] == ([[None] * 4] if account or limits else [])
    for _ in range(2):  # and the next, too
        tenant = create(Tenants(database, EVERYONE), ANN)
        assert (tenant.job_service_account, tenant.limits) == (account, limits)
        assert rows(database, "TenantId", "OAuthUserId") == [[tenant.tenant_id, "ann"]]
        remove(database, tenant.tenant_id)
        assert rows(database, "TenantId") == [[row[0]] for row in kept]
    # What the operator takes back is gone.
    tenant = create(Tenants(database, EVERYONE), ANN)
    insert(database, tenant.tenant_id, JobServiceAccount=None, Limits=None)
    remove(database, tenant.tenant_id)
    assert rows(database) == []


def test_settings_are_kept_for_each_identity(database: Database) -> None:
    insert(database, "first", JobServiceAccount=ACCOUNT)
    remove(database, "first")
    for other in (Identity("other", "ann"), Identity("local", "Ann")):
        assert create(Tenants(database, EVERYONE), other).job_service_account is None
    assert create(Tenants(database, EVERYONE), ANN).job_service_account == ACCOUNT


def test_identities_are_told_apart_by_provider_and_subject(database: Database) -> None:
    tenants = Tenants(database, EVERYONE)
    others = [Identity("other", "ann"), Identity("local", "Ann"), Identity("local", "bob", ANN.email)]
    ids = {create(tenants, identity).tenant_id for identity in (ANN, *others)}
    assert len(ids) == len(rows(database)) == 4


def test_an_unverified_address_is_not_kept(database: Database) -> None:
    tenant = create(Tenants(database, EVERYONE), Identity("local", "bob", "bob@example.com"))
    assert tenant.email is None
    assert rows(database, "UserEmail") == [[None]]


def test_a_changed_address_stays_the_same_tenant(database: Database) -> None:
    tenant = create(Tenants(database, EVERYONE), ANN)
    moved = Identity("local", "ann", "ann@new.example.com", email_verified=True)
    assert create(Tenants(database, EVERYONE), moved) == tenant


def test_a_tenant_made_by_the_operator_needs_no_admission(database: Database) -> None:
    insert(database, "by-hand", JobServiceAccount=ACCOUNT, Limits=JsonObject({"open_jobs": 5}))
    tenants = Tenants(database, NOBODY)
    tenant = create(tenants, ANN)
    assert tenants.resolve(ANN) == tenant
    assert (tenant.tenant_id, tenant.job_service_account) == ("by-hand", ACCOUNT)
    assert tenant.limits == {"open_jobs": 5}


def test_a_tenant_being_deleted_may_read_and_not_submit(database: Database) -> None:
    insert(database, "leaving", DeletedAt=COMMIT_TIMESTAMP)
    tenants = Tenants(database, EVERYONE)
    tenant = tenants.resolve(ANN)
    assert tenant is not None
    assert tenant.deleted_at is not None
    for _ in range(2):
        with pytest.raises(PermissionDenied, match="being deleted"):
            create(tenants, ANN)


def test_a_deletion_elsewhere_is_noticed_in_time(database: Database) -> None:
    now = 0.0
    tenants = Tenants(database, EVERYONE, clock=lambda: now)
    tenant_id = create(tenants, ANN).tenant_id
    insert(database, tenant_id, DeletedAt=COMMIT_TIMESTAMP)
    now = CACHE_SECONDS - 1
    create(tenants, ANN)  # a use does not prolong it
    now = CACHE_SECONDS
    with pytest.raises(PermissionDenied, match="being deleted"):
        create(tenants, ANN)


def test_a_tenant_that_is_gone_may_begin_anew(database: Database) -> None:
    tenants = Tenants(database, EVERYONE)
    first = create(tenants, ANN)
    with database.batch() as batch:
        batch.delete("Tenants", KeySet(all_=True))
    assert create(tenants, ANN) == first
    tenants.forget(ANN)
    assert create(tenants, ANN).tenant_id != first.tenant_id


def test_a_deletion_holds_here_at_once_and_elsewhere_soon(database: Database) -> None:
    now = 0.0
    here, elsewhere = (Tenants(database, EVERYONE, clock=lambda: now) for _ in range(2))
    tenant = create(here, ANN)
    assert create(elsewhere, ANN) == tenant
    deleted = here.delete(ANN)
    assert replace(deleted, deleted_at=None) == tenant
    assert rows(database, "DeletedAt", "UpdatedAt") == [[deleted.deleted_at, deleted.deleted_at]]
    with pytest.raises(PermissionDenied, match="being deleted"):
        create(here, ANN)
    now = CACHE_SECONDS
    with pytest.raises(PermissionDenied, match="being deleted"):
        create(elsewhere, ANN)
    # Whoever asks again, and wherever, changes nothing.
    assert here.delete(ANN) == elsewhere.delete(ANN) == here.look(ANN) == deleted


def test_who_has_no_tenant_has_none_to_delete(database: Database) -> None:
    tenants = Tenants(database, EVERYONE)
    for ask in (tenants.look, tenants.delete):
        with pytest.raises(NotFound):
            ask(ANN)
    assert rows(database) == []


def test_a_read_that_began_before_the_deletion_does_not_hide_it(wire: Wire, wired: Database) -> None:
    tenants = Tenants(wired, EVERYONE)
    create(tenants, ANN)
    tenants.forget(ANN)
    read = tenants_module._read

    def overtaken(database: Database, identity: Identity) -> Tenant | None:
        found = read(database, identity)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tenants_module, "_read", read)
            tenants.delete(ANN)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tenants_module, "_read", overtaken)
        tenants.resolve(ANN)
    with pytest.raises(PermissionDenied, match="being deleted"):
        create(tenants, ANN)


@pytest.mark.parametrize("times", [1, 3])
def test_a_deletion_whose_outcome_is_unknown_is_settled(
    database: Database, wire: Wire, wired: Database, times: int
) -> None:
    tenants = Tenants(wired, EVERYONE)
    create(tenants, ANN)
    left = times

    def on_commit(forward: Forward) -> Answers:
        nonlocal left
        left -= 1
        return applied_and_answer_lost(forward) if left >= 0 else forward()

    wire.on_commit = on_commit
    deleted = tenants.delete(ANN)
    assert rows(database, "DeletedAt") == [[deleted.deleted_at]]


RACER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from google.cloud import spanner
from shared.callers import Admission, Identity
from shared.tenants import Tenants
instance, database, threads = sys.argv[1:]
tenants = Tenants(
    spanner.Client(project="jennah-test").instance(instance).database(database), Admission(everyone=True)
)
def create(identity):
    while True:
        tenant, stored = tenants.submitter(identity)
        if stored or tenants.make(identity, tenant):
            return tenant
tenants.resolve(Identity("local", "somebody"))
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(int(threads)) as pool:
    for tenant in pool.map(create, [Identity("local", "ann")] * int(threads)):
        print(tenant.tenant_id)
"""


def test_fifty_first_submissions_in_threads_make_one_tenant(database: Database) -> None:
    tenants = Tenants(database, EVERYONE)
    together = threading.Barrier(50)

    def submit(_: int) -> str:
        together.wait(30)
        return create(tenants, ANN).tenant_id

    with ThreadPoolExecutor(50) as pool:
        ids = set(pool.map(submit, range(50)))
    assert [[tenant_id] for tenant_id in ids] == rows(database)


def test_fifty_first_submissions_in_processes_make_one_tenant(
    database: Database, spanner_instance: Instance
) -> None:
    command = [sys.executable, "-c", RACER, spanner_instance.instance_id, database.database_id, "25"]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        outputs = ThreadPoolExecutor(2).map(lambda racer: racer.communicate("go\n", 60)[0], racers)
        ids = [line for output in outputs for line in output.split()]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert len(ids) == 50
    assert [[tenant_id] for tenant_id in set(ids)] == rows(database)


# ---- on the wire -------------------------------------------------------------------------------------------


def test_what_it_costs(wire: Wire, wired: Database) -> None:
    tenants = Tenants(wired, EVERYONE)
    tenants.resolve(ANN)
    assert take(wire.calls) == ["StreamingRead"]  # nothing there
    create(tenants, ANN)
    # Is it there, are there settings from before; made.
    assert take(wire.calls) == ["StreamingRead", "StreamingRead", "Commit"]
    create(tenants, ANN)
    tenants.resolve(ANN)
    assert take(wire.calls) == []  # warm
    create(Tenants(wired, EVERYONE), ANN)
    assert take(wire.calls) == ["StreamingRead", "StreamingRead"]  # cold: by the index, then by the key


def test_the_cache_is_bounded(wire: Wire, wired: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.tenants.CACHE_SIZE", 2)
    tenants = Tenants(wired, EVERYONE)
    for subject in ("ann", "bob", "ann", "cid"):
        create(tenants, Identity("local", subject))
    wire.calls.clear()
    for subject in ("ann", "cid"):
        tenants.resolve(Identity("local", subject))
    assert take(wire.calls) == []
    tenants.resolve(Identity("local", "bob"))  # used longest ago
    assert take(wire.calls) == ["StreamingRead", "StreamingRead"]


def take(calls: list[str]) -> list[str]:
    taken = calls.copy()
    calls.clear()
    return taken


@pytest.mark.parametrize("fault", [applied_and_answer_lost, never_arrived])
@pytest.mark.parametrize("times", [1, 3])
def test_an_unknown_outcome_is_settled(
    database: Database, wire: Wire, wired: Database, fault: Callable[[Forward], Answers], times: int
) -> None:
    left = times

    def on_commit(forward: Forward) -> Answers:
        nonlocal left
        left -= 1
        return fault(forward) if left >= 0 else forward()

    wire.on_commit = on_commit
    tenant = create(Tenants(wired, EVERYONE), ANN)
    assert rows(database) == [[tenant.tenant_id]]
    assert wire.calls.count("Commit") >= 2


def test_a_commit_that_is_applied_late_makes_no_second_tenant(
    database: Database, wire: Wire, wired: Database
) -> None:
    held: list[Forward] = []

    def on_commit(forward: Forward) -> Answers:
        if not held:
            held.append(forward)
            raise TimeoutError
        return forward()

    wire.on_commit = on_commit
    tenant = create(Tenants(wired, EVERYONE), ANN)
    with pytest.raises(grpc.RpcError) as collision:
        list(held[0]())
    assert collision.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert rows(database) == [[tenant.tenant_id]]


def test_a_lost_answer_and_another_winner(database: Database, wire: Wire, wired: Database) -> None:
    winner: list[str] = []

    def on_commit(forward: Forward) -> Answers:
        if not winner:
            winner.append(create(Tenants(database, EVERYONE), ANN).tenant_id)
            raise TimeoutError
        return forward()

    wire.on_commit = on_commit
    assert create(Tenants(wired, EVERYONE), ANN).tenant_id == winner[0]
    assert rows(database) == [winner]


def test_a_winner_that_vanishes_is_not_guessed(database: Database, wire: Wire, wired: Database) -> None:
    def on_commit(forward: Forward) -> Answers:
        insert(database, "winner")
        try:
            yield from forward()
        finally:
            with database.batch() as batch:
                batch.delete("Tenants", KeySet(all_=True))

    wire.on_commit = on_commit
    tenants = Tenants(wired, EVERYONE)
    with pytest.raises(Unavailable):
        create(tenants, ANN)
    wire.on_commit = lambda forward: forward()
    assert rows(database) == []
    assert [[create(tenants, ANN).tenant_id]] == rows(database)
