"""Every number that the tables of docs/costs.md and docs/capacity.md are made of, with where it is from.

counted: tests/unit/test_costs.py, or tests/integration/test_budget.py, counts it in the code. assumed:
measure it in your deployment. limit: Google's documentation, the page that is named. price: a list price of
us-central1 in US dollars, with the address of its page; most were read in public copies of these pages of
about the year that is named, so each is to be checked there before anybody relies on it. To compute with
other values, change them here and run `cost_tables` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Input:
    """One number, what it means, and where it is from."""

    value: float
    meaning: str
    source: str


_COUNTED, _ASSUMED = "counted", "assumed"
_GOOGLE = "https://cloud.google.com"
_RUN_SCALING = f"limit: {_GOOGLE}/run/docs/about-instance-autoscaling"
_SPANNER_CPU = f"limit: {_GOOGLE}/spanner/docs/cpu-utilization"
_SPANNER_SPEED = f"limit: {_GOOGLE}/spanner/docs/performance"
_BATCH = f"limit: {_GOOGLE}/batch/quotas"
_RUN = f"price: {_GOOGLE}/run/pricing, tier 1, request-based billing, 2025; check"
_STANDARD = f"price: {_GOOGLE}/spanner/pricing, regional, edition STANDARD, 2025; check"
_ENTERPRISE = f"price: {_GOOGLE}/spanner/pricing, regional, edition ENTERPRISE, 2026; check"
_SPANNER = f"price: {_GOOGLE}/spanner/pricing, regional, 2025; check for your edition"
_NAT = f"price: {_GOOGLE}/nat/pricing, 2025; check"

INPUTS: Mapping[str, Input] = MappingProxyType(
    {
        "spanner_commits": Input(4, "Spanner commits of a job that succeeds", _COUNTED),
        "spanner_reads": Input(3, "Spanner reads of it", _COUNTED),
        "row_writes": Input(26, "rows and index entries that these commits write", _COUNTED),
        "touch_writes": Input(3, "rows and index entries that a check writes", _COUNTED),
        "stored_bytes": Input(2_670, "bytes that it leaves, by Spanner's storage sizes", _COUNTED),
        "batch_creates": Input(1, "CreateJob", _COUNTED),
        "batch_gets": Input(1, "GetJob, checks apart", _COUNTED),
        "messages": Input(3, "messages: one to `jobs`, RUNNING and SUCCEEDED to `batch-events`", _COUNTED),
        "most_checks": Input(1_000, "checks of a tick at most", _COUNTED),
        "most_published": Input(200, "messages of a tick at most", _COUNTED),
        "listed_jobs": Input(2_000, "youngest Batch jobs that a tick lists at most", _COUNTED),
        "tick_seconds": Input(15, "seconds that a tick works at most", _COUNTED),
        "queued_seconds": Input(90, "seconds from CreateJob until a job runs", _ASSUMED),
        "run_seconds": Input(600, "seconds that it runs", _ASSUMED),
        "job_vcpus": Input(2, "vCPUs of a job (profile `medium`)", _ASSUMED),
        "submission_seconds": Input(0.1, "seconds of a submission", _ASSUMED),
        "scheduling_seconds": Input(1.0, "seconds of a message of `jobs`, CreateJob included", _ASSUMED),
        "notification_seconds": Input(0.2, "seconds of a notification", _ASSUMED),
        "cpu_seconds": Input(0.02, "CPU seconds of any of them", _ASSUMED),
        "vcpus": Input(1, "vCPUs of an instance", _ASSUMED),
        "memory_gib": Input(0.5, "GiB of an instance", _ASSUMED),
        "concurrency": Input(8, "requests of an instance at once (as many as `THREADS`)", _ASSUMED),
        "log_lines": Input(
            8, "log lines of ours: the request, each change, all but the first announced (DEBUG)", _COUNTED
        ),
        "log_line_bytes": Input(
            1_000, "bytes of one in Cloud Logging, what Cloud Run adds included", _ASSUMED
        ),
        "request_log_bytes": Input(1_000, "bytes of Cloud Run's own log of a request", _ASSUMED),
        "task_log_bytes": Input(20_000, "bytes that a task and Batch's agent log", _ASSUMED),
        "answer_bytes": Input(1_500, "bytes of an answer to a client, with its headers", _ASSUMED),
        "image_gib": Input(0.3, "GiB of each of the four functions' images", _ASSUMED),
        "target": Input(0.6, "share of concurrency and CPU that Cloud Run aims at", _RUN_SCALING),
        "spanner_cpu": Input(
            0.65, "share of Spanner's CPU that a regional instance should not pass", _SPANNER_CPU
        ),
        "node_writes": Input(
            3_500, "writes a second of a Spanner node (1,000 processing units)", _SPANNER_SPEED
        ),
        "node_reads": Input(22_500, "reads a second of it", _SPANNER_SPEED),
        "batch_mutations": Input(6_000, "Batch: creates, cancels and deletes a minute and region", _BATCH),
        "batch_reads": Input(15_000, "Batch: reads a minute and region", _BATCH),
        "pubsub_least_bytes": Input(
            1_000, "bytes that each publish and push counts for at least", f"limit: {_GOOGLE}/pubsub/pricing"
        ),
        "vcpu_price": Input(0.000024, "a vCPU second", _RUN),
        "gib_price": Input(0.0000025, "a GiB second", _RUN),
        "idle_price": Input(0.0000025, "a vCPU second of an idle minimum instance", _RUN),
        "million_price": Input(0.40, "a million requests", _RUN),
        "node_price": Input(0.90, "a node hour", _STANDARD),
        "enterprise_price": Input(1.23, "a node hour that may follow the load", _ENTERPRISE),
        "storage_price": Input(0.30, "a GiB of data for a month", _SPANNER),
        "backup_price": Input(0.10, "a GiB of backup for a month", _SPANNER),
        "pubsub_price": Input(
            40, "a TiB published or delivered", f"price: {_GOOGLE}/pubsub/pricing, 2025; check"
        ),
        "log_price": Input(
            0.50,
            "a GiB of logs, 30 days included",
            f"price: {_GOOGLE}/stackdriver/pricing, 2026; check",
        ),
        "egress_price": Input(
            0.12, "a GiB to the internet", f"price: {_GOOGLE}/vpc/network-pricing, Premium tier, 2024; check"
        ),
        "scheduler_price": Input(
            0.10, "a Cloud Scheduler job for a month", f"price: {_GOOGLE}/scheduler/pricing, 2025; check"
        ),
        "registry_price": Input(
            0.10, "a GiB of images for a month", f"price: {_GOOGLE}/artifact-registry/pricing, 2025; check"
        ),
        "nat_price": Input(0.044, "an hour of a NAT gateway with more than 32 machines", _NAT),
        "nat_gib_price": Input(0.045, "a GiB through it, either way", _NAT),
        "address_price": Input(0.005, "an hour of an address of it", _NAT),
    }
)
