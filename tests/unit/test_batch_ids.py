"""Batch ids: reversible, within Batch's rules, and nothing else is taken for one."""

from __future__ import annotations

import re
import string
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.batch_ids import batch_id, parse_batch_id
from shared.model import JobKey

uuids = st.uuids().map(str)
attempts = st.integers(1, 999_999_999)


@given(uuids, uuids, attempts)
def test_an_id_leads_back_to_its_job_and_attempt(tenant: str, job: str, attempt: int) -> None:
    made = batch_id(JobKey(tenant, job), attempt)
    assert parse_batch_id(made) == (JobKey(tenant, job), attempt)
    # The project may be a number where Batch names the job.
    assert parse_batch_id(f"projects/123/locations/x/jobs/{made}") == (JobKey(tenant, job), attempt)


@given(uuids, uuids, attempts)
def test_an_id_keeps_batchs_rules(tenant: str, job: str, attempt: int) -> None:
    made = batch_id(JobKey(tenant, job), attempt)
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", made)
    assert len(made) <= 63


@given(uuids, uuids, attempts, st.data())
def test_any_other_spelling_is_refused(tenant: str, job: str, attempt: int, data: st.DataObject) -> None:
    made = batch_id(JobKey(tenant, job), attempt)
    position = data.draw(st.integers(0, len(made) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_/. \n"))
    changed = made[:position] + other + made[position + 1 :]
    try:
        key, number = parse_batch_id(changed)
    except ValueError:
        return
    assert batch_id(key, number) == changed.rsplit("/", 1)[-1]


LETTERS = "a" * 52


@pytest.mark.parametrize("text", ["", "j", "job-1", f"j{LETTERS}-0", f"j{LETTERS}-01", f"J{LETTERS}-1"])
def test_foreign_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a Batch job"):
        parse_batch_id(text)


CANONICAL = str(uuid.UUID(int=10))
OTHER_FORMS = ["", "x", CANONICAL.upper(), f"{{{CANONICAL}}}", CANONICAL.replace("-", "")]


@pytest.mark.parametrize("bad", OTHER_FORMS)
def test_only_canonical_uuids_have_ids(bad: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        batch_id(JobKey(bad, CANONICAL), 1)
