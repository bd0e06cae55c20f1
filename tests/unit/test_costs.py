"""What the cost tables count is what the code does, and the documents show what the module prints."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from google.cloud import batch_v1

from jennah.operations import cost_production, costs
from jennah.operations.cost_inputs import INPUTS
from jennah.operations.cost_tables import TABLES
from shared import batch_client, listing, reconcile, telemetry
from shared.api.spec import SubmitRequest
from shared.batch_ids import batch_id
from shared.batch_spec import batch_job
from shared.config import Settings, Timing
from shared.events import BatchRef, Scheduled, Started, Succeeded
from shared.lifecycle import Applied
from shared.model import Actor, Job
from shared.transitions import Touch, Transitions
from tests.infrastructure import hcl
from tests.simulation.store import Change, Store
from tests.simulation.store_schema import Row, Table, load

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SCHEMA = load()

# Spanner's documentation, "Data types": bytes of a value, and 8 more for each that is stored.
OVERHEAD = 8


def size(value: Any) -> int:
    match value:
        case None:
            return 0
        case str():
            return OVERHEAD + len(value.encode())
        case bool():
            return OVERHEAD + 1
        case int():
            return OVERHEAD + 8
        case datetime():
            return OVERHEAD + 12
        case list() | tuple():
            return OVERHEAD + sum(len(item.encode()) for item in value)
        case _:
            return OVERHEAD + len(json.dumps(value, separators=(",", ":")).encode())


def entries(table: Table, row: Row | None) -> dict[str, tuple[Any, ...]]:
    """The row's entries, by index, each with the primary key that stands in it."""
    if row is None:
        return {}
    found = {}
    for index in table.indexes.values():
        if index.key_of(row) is not None:
            found[index.name] = tuple(row[position] for position in dict.fromkeys(index.key + table.key))
    return found


def written(changes: Sequence[Change]) -> int:
    """Rows and index entries; one that moves in its index is deleted there and made."""
    writes = 0
    for change in changes:
        table = SCHEMA[change.table]
        before, after = entries(table, change.before), entries(table, change.after)
        writes += 1 + len(set(before.items()) ^ set(after.items()))
    return writes


@pytest.fixture(name="life")
def _life() -> tuple[list[list[Change]], Job]:
    """The commits of a job that succeeds, and its row before the last but one."""
    commits: list[list[Change]] = []
    minutes = count()

    def clock() -> datetime:
        return NOW + timedelta(minutes=next(minutes))

    store = Store(observer=lambda changes: commits.append(list(changes)), now=clock)
    tenant = "11111111-1111-4111-8111-111111111111"
    with store.batch() as batch:
        batch.insert("Tenants", ["TenantId"], [[tenant]])
    commits.clear()
    request = SubmitRequest(
        image_uri="us-central1-docker.pkg.dev/my-project/jobs/render:1",
        commands=["render", "--frame", "17"],
        env={"QUALITY": "high"},
    )
    job = Job(
        tenant_id=tenant,
        job_id="22222222-2222-4222-8222-222222222222",
        image_uri=request.image_uri,
        commands=tuple(request.commands),
        spec=request.spec(None),
        batch_parent="projects/my-project/locations/us-central1",
        idempotency_key="33333333-3333-4333-8333-333333333333",
        request_hash=request.digest(),
    )
    name = f"{job.batch_parent}/jobs/{batch_id(job.key, 1)}"
    ref = BatchRef(name, "j-44444444-4444-4444-8444-444444444444")
    transitions = Transitions(store, timing=Timing(), now=clock)
    transitions.submit(job)
    transitions.apply(job.key, Scheduled(attempt=1, batch=ref), Actor.SCHEDULER)
    running = transitions.apply(job.key, Started(attempt=1, batch=ref, confirmed=False), Actor.BATCH)
    assert isinstance(running, Applied)
    ended = Succeeded(attempt=1, batch=ref, started_at=clock(), finished_at=clock())
    transitions.apply(job.key, ended, Actor.BATCH)
    life = list(commits)
    commits.clear()
    return life, running.job


def test_commits_rows_and_bytes_of_a_job_that_succeeds(life: tuple[list[list[Change]], Job]) -> None:
    commits, _ = life
    assert len(commits) == INPUTS["spanner_commits"].value
    assert [written(changes) for changes in commits] == [6, 7, 7, 6]
    assert sum(written(changes) for changes in commits) == INPUTS["row_writes"].value
    left = {(change.table, change.key): change.after for changes in commits for change in changes}
    stored = 0
    for (name, _key), row in left.items():
        assert row is not None
        stored += sum(size(value) for value in row)
        stored += sum(size(value) for entry in entries(SCHEMA[name], row).values() for value in entry)
    assert stored == INPUTS["stored_bytes"].value


def test_log_lines_of_a_job_that_succeeds(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """Besides, there is one of the request."""
    caplog.set_level("DEBUG", logger="shared")
    request.getfixturevalue("life")
    lines = [line for line in caplog.get_records("setup") + caplog.records if line.name == "shared"]
    assert Counter(line.levelname for line in lines) == {"INFO": 4, "DEBUG": 3}
    assert INPUTS["log_lines"].value == len(lines) + 1
    written = [telemetry.lines_of("my-project").format(line) for line in lines]
    assert max(len(line) for line in written) < INPUTS["log_line_bytes"].value


def test_rows_of_a_check(life: tuple[list[list[Change]], Job]) -> None:
    _, running = life
    seen: list[list[Change]] = []
    store = Store(observer=lambda changes: seen.append(list(changes)), now=lambda: NOW)
    with store.batch() as batch:
        batch.insert("Tenants", ["TenantId"], [[running.tenant_id]])
        values = [running.tenant_id, running.job_id, "RUNNING", running.version, running.next_check_at]
        batch.insert("Jobs", ["TenantId", "JobId", "Status", "Version", "NextCheckAt"], [values])
    seen.clear()
    transitions = Transitions(store, timing=Timing(), now=lambda: NOW)
    assert transitions.touch(Touch(running, next_check_at=NOW + timedelta(days=1)))
    assert [written(changes) for changes in seen] == [INPUTS["touch_writes"].value]


def test_a_job_that_succeeds_is_three_messages() -> None:
    settings = Settings(project="my-project", spanner_instance="jennah")
    job = Job(
        tenant_id="11111111-1111-4111-8111-111111111111",
        job_id="22222222-2222-4222-8222-222222222222",
        image_uri="busybox",
        spec=SubmitRequest(image_uri="busybox").spec(None),
    )
    states = batch_v1.JobStatus.State
    told = [entry.message.new_job_state for entry in batch_job(job, settings).notifications]
    assert told == [states.RUNNING, states.SUCCEEDED, states.FAILED]
    assert INPUTS["messages"].value == 1 + len(set(told) - {states.FAILED})


def test_the_bounds_of_a_tick_are_the_codes() -> None:
    assert INPUTS["most_checks"].value == reconcile._MOST_CHECKS
    assert INPUTS["most_published"].value == reconcile._MOST_PUBLISHED
    assert INPUTS["listed_jobs"].value == listing._MOST_PAGES * batch_client._PAGE
    works = max(Timing().function_timeout - reconcile._ROOM, Timing().function_timeout / 4)
    assert INPUTS["tick_seconds"].value == works.total_seconds()


def test_looks_at_a_job_double_their_distance() -> None:
    assert [costs.looks(seconds) for seconds in (59, 61, 121, 241, 600, 7200)] == [0, 1, 2, 3, 4, 8]


@pytest.mark.parametrize("name", TABLES)
def test_the_documents_show_what_the_module_prints(name: str) -> None:
    page = name.partition(":")[0]
    printed = TABLES[name]()
    text = (ROOT / page).read_text(encoding="utf-8")
    assert printed in text, f"run `python -m jennah.operations.cost_tables` and bring its tables to {page}"


def test_every_input_counts() -> None:
    """An input that changes no table has no business there."""
    files = [ROOT / "jennah" / "operations" / name for name in ("costs.py", "cost_production.py")]
    sources = "".join(file.read_text(encoding="utf-8") for file in files)
    unused = {name for name in INPUTS if f'"{name}"' not in sources}
    assert unused == {"most_published"}  # docs/capacity.md computes with it


def test_prices_and_limits_name_the_page_that_they_are_from() -> None:
    for name, entry in INPUTS.items():
        kind, _, rest = entry.source.partition(": ")
        if kind in {"price", "limit"}:
            assert re.match(r"https://cloud\.google\.com/[a-z/-]+(, |$)", rest), name
        if kind == "price":
            assert re.search(r", 20\d\d; check", rest), name
        assert kind in {"counted", "assumed", "price", "limit"}, name


def test_the_production_example_is_terraforms() -> None:
    example = ROOT / "terraform" / "examples" / "production" / "main.tf"
    (module,) = (block.body for block in hcl.read_folder(example.parent) if block.kind == "module")
    spanner, sizes = module["spanner"], module["functions"]
    assert f"about {cost_production.RATE} jobs a second" in example.read_text(encoding="utf-8")
    assert (spanner["edition"], spanner["backup_days"]) == ("ENTERPRISE", cost_production.BACKUPS)
    assert spanner["autoscaling"]["min_processing_units"] == cost_production.LEAST_UNITS
    assert module["job_network"]["nat_addresses"] == cost_production.ADDRESSES
    assert module["times"] == {"live_check": cost_production.TIMING.live_check.total_seconds()}
    for size in (*cost_production.SIZES, cost_production.TICKS):
        given = sizes[size.name]
        default = costs.Function("", 0, 0)
        streams = 2 if size.name == "submission" else 1
        assert size.least == given["min_instances"], size.name
        assert size.memory_gib == float(given.get("memory", "0.5Gi").removesuffix("Gi")), size.name
        if size is not cost_production.TICKS:
            assert size.concurrency == given.get("concurrency", default.concurrency * streams) / streams
