"""Settings: read once from the environment, typed, frozen, and refused at start when they are wrong.

Standard library only. No other module of `shared` reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from shared.callers import (
    Admission,
    Issuer,
    Operators,
    admission_setting,
    issuers_setting,
    json_setting,
    operators_setting,
)
from shared.errors import SettingsError
from shared.images import ImagePolicy, images_setting
from shared.telemetry_settings import TelemetrySettings, telemetry_setting


@dataclass(frozen=True, slots=True)
class Limits:
    """What one tenant may have or do at a time; None: without a limit.

    Attributes:
        open_jobs: jobs that have not ended.
        submissions_per_minute: jobs submitted, whether they are accepted or not.
        vcpu_in_flight: vCPUs that its open jobs ask for.
    """

    open_jobs: int | None = None
    submissions_per_minute: int | None = None
    vcpu_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the platform waits for what. Defaults are production's (DESIGN §5)."""

    tick: timedelta = timedelta(seconds=60)
    pending_check: timedelta = timedelta(seconds=60)
    pending_check_limit: timedelta = timedelta(minutes=15)
    live_check: timedelta = timedelta(seconds=60)
    live_check_limit: timedelta = timedelta(minutes=30)
    unconfirmed_check: timedelta = timedelta(seconds=30)
    retry_base: timedelta = timedelta(seconds=10)
    retry_limit: timedelta = timedelta(minutes=10)
    function_timeout: timedelta = timedelta(seconds=60)
    create_deadline: timedelta = timedelta(seconds=30)
    settle_margin: timedelta = timedelta(minutes=10)
    pending_max_age: timedelta = timedelta(days=2)
    queued_detail: timedelta = timedelta(minutes=5)
    queued_max_age: timedelta = timedelta(days=1)  # Batch itself fails a job that it kept queued for two
    pause_check: timedelta = timedelta(minutes=5)
    sweep: timedelta = timedelta(hours=1)
    orphan_age: timedelta = timedelta(hours=1)
    delete_age: timedelta = timedelta(minutes=5)
    body: timedelta = timedelta(seconds=10)  # of a request, to come whole: a thread waits for it
    # With its last read (10 s), a stream ends before its function does.
    stream: timedelta = timedelta(seconds=45)
    # For a page of a log, and for the lines that one look of a stream brings.
    log_page: timedelta = timedelta(seconds=35)
    log_look: timedelta = timedelta(seconds=10)
    # Cloud Logging answers one project 60 times a minute: here are all its tenants.
    log_pause: timedelta = timedelta(seconds=5)  # between two looks of a stream
    log_spacing: timedelta = timedelta(seconds=3)  # between two reads of a tenant, on average
    log_delay: timedelta = timedelta(seconds=30)  # Cloud Logging shows most lines after a few seconds
    tenant_cache: timedelta = timedelta(seconds=30)

    @property
    def settle(self) -> timedelta:
        """How long after a job's end a Batch job may still appear for it."""
        return self.function_timeout + self.create_deadline + self.settle_margin

    @property
    def ahead(self) -> timedelta:
        """How much sooner than planned a look at a job in Batch is due.

        One that is due a tick after the last look would miss that tick by what the look itself took, and by
        the spread of planned times: up to 14 s and 6 s of a minute.
        """
        return self.tick / 3


@dataclass(frozen=True, slots=True)
class JobNetwork:
    """Where the machines of jobs stand: full resource names, and whether they have external addresses."""

    network: str
    subnetwork: str
    external_ip: bool = True

    @property
    def region(self) -> str:
        """The subnetwork's, where alone jobs may run in it."""
        return self.subnetwork.split("/")[3]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that differs between deployments."""

    project: str
    spanner_instance: str
    spanner_database: str = "main"
    region: str = "us-central1"
    deployment: str = "jennah"
    jobs_topic: str = "jobs"
    batch_events_topic: str = "batch-events"
    job_service_account: str | None = None
    job_network: JobNetwork | None = None
    images: ImagePolicy = field(default_factory=ImagePolicy)
    issuers: tuple[Issuer, ...] = ()
    admission: Admission = field(default_factory=Admission)
    operators: Operators = field(default_factory=Operators)
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    batch_emulator_host: str | None = None
    spanner_emulator_host: str | None = None
    logging_emulator_host: str | None = None
    pubsub_emulator_host: str | None = None
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    threads: int = field(default_factory=lambda: (os.cpu_count() or 1) * 4)

    @property
    def batch_parent(self) -> str:
        """Where new Batch jobs are made: `projects/{project}/locations/{region}`."""
        return f"projects/{self.project}/locations/{self.region}"

    def require_job_account(self) -> None:
        """Refuse to create jobs in Google's Batch as whatever account the project has by default.

        Raises:
            SettingsError: no account is named, and Batch is not the local one.
        """
        if self.job_service_account is None and self.batch_emulator_host is None:
            raise SettingsError(
                "JENNAH_JOB_SERVICE_ACCOUNT is not set: set it to the account that jobs run as, because the "
                "project's default account, which Batch would take, often may do anything."
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: one is missing or wrong; the message names it and says what it should be.
        """
        issuers = issuers_setting(environ.get("JENNAH_OIDC_ISSUERS") or "[]")
        region = _name(environ, "JENNAH_REGION", "us-central1")
        return cls(
            project=_name(environ, "GOOGLE_CLOUD_PROJECT"),
            spanner_instance=_name(environ, "SPANNER_INSTANCE"),
            spanner_database=_name(environ, "SPANNER_DATABASE", "main"),
            region=region,
            deployment=_name(environ, "JENNAH_DEPLOYMENT", "jennah"),
            jobs_topic=_name(environ, "JENNAH_JOBS_TOPIC", "jobs"),
            batch_events_topic=_name(environ, "JENNAH_BATCH_EVENTS_TOPIC", "batch-events"),
            job_service_account=_name(environ, "JENNAH_JOB_SERVICE_ACCOUNT", "") or None,
            job_network=_job_network(environ, region),
            images=images_setting(
                environ.get("JENNAH_IMAGE_REGISTRIES") or "", environ.get("JENNAH_IMAGE_DIGESTS") or ""
            ),
            issuers=issuers,
            admission=admission_setting(environ.get("JENNAH_ADMIT") or "{}"),
            operators=operators_setting(environ.get("JENNAH_OPERATORS") or "{}", issuers),
            limits=_limits(environ.get("JENNAH_LIMITS") or "{}"),
            timing=_timing(environ),
            batch_emulator_host=_name(environ, "BATCH_EMULATOR_HOST", "") or None,
            spanner_emulator_host=_name(environ, "SPANNER_EMULATOR_HOST", "") or None,
            logging_emulator_host=_name(environ, "LOGGING_EMULATOR_HOST", "") or None,
            pubsub_emulator_host=_name(environ, "PUBSUB_EMULATOR_HOST", "") or None,
            telemetry=telemetry_setting(environ),
            **_threads(environ),
        )


# What a setting is, and its shape: one that Google would refuse is refused here, where it can be named.
_TOPIC = ("a Pub/Sub topic id, not its full name", r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_HOST = ("host:port, without http://", r"[A-Za-z0-9._-]+:[0-9]{1,5}")
_NAMES: Mapping[str, tuple[str, str]] = {
    "GOOGLE_CLOUD_PROJECT": ("the Google Cloud project id", r"[a-z0-9.:-]{1,63}"),
    "SPANNER_INSTANCE": ("the Spanner instance id", r"[a-z][a-z0-9-]{0,63}"),
    "SPANNER_DATABASE": ("the Spanner database id", r"[a-z][a-z0-9_-]{1,29}"),
    "JENNAH_REGION": ("a region, such as us-central1", r"[a-z]+-[a-z]+[0-9]+"),
    # It is the value of a label of every Batch job.
    "JENNAH_DEPLOYMENT": ("1 to 63 lower-case letters, digits, '-' or '_'", r"[a-z0-9_-]{1,63}"),
    "JENNAH_JOBS_TOPIC": _TOPIC,
    "JENNAH_BATCH_EVENTS_TOPIC": _TOPIC,
    "JENNAH_JOB_SERVICE_ACCOUNT": ("a service account's email address", r"[a-z0-9.-]+@[a-z0-9.-]+"),
    "JENNAH_JOB_NETWORK": (
        "a network's full name, projects/PROJECT/global/networks/NAME",
        r"projects/[a-z0-9.:-]{1,63}/global/networks/[a-z][a-z0-9-]{0,62}",
    ),
    "JENNAH_JOB_SUBNETWORK": (
        "a subnetwork's full name, projects/PROJECT/regions/REGION/subnetworks/NAME",
        r"projects/[a-z0-9.:-]{1,63}/regions/[a-z]+-[a-z]+[0-9]+/subnetworks/[a-z][a-z0-9-]{0,62}",
    ),
    "JENNAH_JOB_EXTERNAL_IP": ("yes or none", r"yes|none"),
    "BATCH_EMULATOR_HOST": _HOST,
    "SPANNER_EMULATOR_HOST": _HOST,
    "LOGGING_EMULATOR_HOST": _HOST,
    "PUBSUB_EMULATOR_HOST": _HOST,
}


def _name(environ: Mapping[str, str], name: str, default: str | None = None) -> str:
    meaning, shape = _NAMES[name]
    value = environ.get(name)
    if not value:
        if default is None:
            raise SettingsError(f"{name} is not set: set it to {meaning}.")
        return default
    if not re.fullmatch(shape, value):
        raise SettingsError(f"{name} must be {meaning}, not {value!r}.")
    return value


def _job_network(environ: Mapping[str, str], region: str) -> JobNetwork | None:
    """Where jobs run; None leaves it to Batch, which takes the project's default network."""
    network = _name(environ, "JENNAH_JOB_NETWORK", "") or None
    subnetwork = _name(environ, "JENNAH_JOB_SUBNETWORK", "") or None
    external_ip = _name(environ, "JENNAH_JOB_EXTERNAL_IP", "yes") == "yes"
    if network and subnetwork:
        # Batch would refuse every job, and each refusal is final.
        if f"/regions/{region}/" not in subnetwork:
            raise SettingsError(
                f"JENNAH_JOB_SUBNETWORK must be in the region of JENNAH_REGION, {region}, not {subnetwork!r}."
            )
        return JobNetwork(network, subnetwork, external_ip)
    if network or subnetwork:
        present, missing = "JENNAH_JOB_NETWORK", "JENNAH_JOB_SUBNETWORK"
        if subnetwork:
            present, missing = missing, present
        raise SettingsError(f"{missing} is not set, but {present} is: set both, or none of them.")
    if not external_ip:
        raise SettingsError(
            "JENNAH_JOB_EXTERNAL_IP is none, which needs a network that leads to Google: set "
            "JENNAH_JOB_NETWORK and JENNAH_JOB_SUBNETWORK."
        )
    return None


MAX_LIMIT = 1_000_000


def _limits(text: str) -> Limits:
    name = "JENNAH_LIMITS"
    known = Limits.__dataclass_fields__
    limits = json_setting(name, text)
    if not isinstance(limits, dict) or limits.keys() - known:
        raise SettingsError(f"{name} must be an object with {', '.join(known)}.")
    for key, value in limits.items():
        if value is not None and not is_limit(value):
            raise SettingsError(f"{name}.{key} must be a whole number from 0 to {MAX_LIMIT}.")
    return Limits(**limits)


def is_limit(value: object) -> bool:
    """Whether a limit may have this value; None, for no limit, apart."""
    return type(value) is int and 0 <= value <= MAX_LIMIT


def _threads(environ: Mapping[str, str]) -> dict[str, int]:
    """How many requests this process serves at once; setting and default are functions-framework's."""
    text = environ.get("THREADS")
    if not text:
        return {}
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise SettingsError(f"THREADS must be a whole number from 1 to 9999, not {text!r}.")
    return {"threads": int(text)}


_TIMES = (
    "tick",
    "pending_check",
    "pending_check_limit",
    "live_check",
    "live_check_limit",
    "unconfirmed_check",
    "retry_base",
    "create_deadline",
    "settle_margin",
    "delete_age",
    "body",
    "stream",
    "log_pause",
    "log_spacing",
    "log_delay",
)


def _timing(environ: Mapping[str, str]) -> Timing:
    changed = {}
    for setting in _TIMES:
        name = f"JENNAH_{setting.upper()}_SECONDS"
        text = environ.get(name)
        if not text:
            continue
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1
        most = 60 if setting in {"body", "stream"} else 86_400
        if not 0.001 <= seconds <= most:
            raise SettingsError(f"{name} must be a number of seconds from 0.001 to {most}, not {text!r}.")
        changed[setting] = timedelta(seconds=seconds)
    return Timing(**changed)
