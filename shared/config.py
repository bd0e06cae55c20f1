"""Settings: read once from the environment, typed, frozen, and refused at start when they are wrong.

Standard library only. No other module of `shared` reads the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from shared.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OpenID Connect issuer whose ID tokens are accepted.

    `provider` is the name stored with a tenant's identity (`Tenants.OAuthProvider`); `jwks_uri` spares the
    discovery document when the issuer has none.
    """

    issuer: str
    audience: str
    provider: str
    jwks_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may become a tenant. Empty: nobody (tenants that an operator made still may)."""

    everyone: bool = False
    emails: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()


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

    @property
    def settle(self) -> timedelta:
        """How long after a job's end a Batch job may still appear for it."""
        return self.function_timeout + self.create_deadline + self.settle_margin


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
    issuers: tuple[Issuer, ...] = ()
    admission: Admission = field(default_factory=Admission)
    timing: Timing = field(default_factory=Timing)
    batch_emulator_host: str | None = None
    spanner_emulator_host: str | None = None

    @property
    def batch_parent(self) -> str:
        """Where new Batch jobs are made: `projects/{project}/locations/{region}`."""
        return f"projects/{self.project}/locations/{self.region}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: one is missing or wrong; the message names it and says what it should be.
        """
        return cls(
            project=_name(environ, "GOOGLE_CLOUD_PROJECT"),
            spanner_instance=_name(environ, "SPANNER_INSTANCE"),
            spanner_database=_name(environ, "SPANNER_DATABASE", "main"),
            region=_name(environ, "JENNAH_REGION", "us-central1"),
            deployment=_name(environ, "JENNAH_DEPLOYMENT", "jennah"),
            jobs_topic=_name(environ, "JENNAH_JOBS_TOPIC", "jobs"),
            batch_events_topic=_name(environ, "JENNAH_BATCH_EVENTS_TOPIC", "batch-events"),
            job_service_account=_name(environ, "JENNAH_JOB_SERVICE_ACCOUNT", "") or None,
            issuers=_issuers(environ.get("JENNAH_OIDC_ISSUERS") or "[]"),
            admission=_admission(environ.get("JENNAH_ADMIT") or "{}"),
            timing=_timing(environ),
            batch_emulator_host=_name(environ, "BATCH_EMULATOR_HOST", "") or None,
            spanner_emulator_host=_name(environ, "SPANNER_EMULATOR_HOST", "") or None,
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
    "BATCH_EMULATOR_HOST": _HOST,
    "SPANNER_EMULATOR_HOST": _HOST,
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


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not JSON ({error}).") from None


def _issuers(text: str) -> tuple[Issuer, ...]:
    name = "JENNAH_OIDC_ISSUERS"
    entries = _json(name, text)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingsError(f'{name} must be a list like [{{"issuer": …, "audience": …, "provider": …}}].')
    issuers = []
    for entry in entries:
        unknown = entry.keys() - {"issuer", "audience", "provider", "jwks_uri"}
        if unknown:
            raise SettingsError(f"{name} has an unknown field {sorted(unknown)[0]!r}.")
        for key in ("issuer", "audience", "provider"):
            if not isinstance(entry.get(key), str) or not entry[key]:
                raise SettingsError(f"{name} has an entry without {key!r}: every issuer needs one.")
        if not isinstance(entry.get("jwks_uri"), str | None):
            raise SettingsError(f"{name} has an entry whose 'jwks_uri' is no text.")
        issuers.append(Issuer(**entry))
    providers = [issuer.provider for issuer in issuers]
    if len(set(providers)) < len(providers):
        raise SettingsError(f"{name} names a provider twice: identities of two issuers would meet.")
    return tuple(issuers)


_ADMITTED: Mapping[str, tuple[str, str]] = {
    "emails": ("addresses such as 'ann@example.com'", r"[^@\s]+@[^@\s]+"),
    "domains": ("domains such as 'example.com'", r"[^@\s]+"),
    "subjects": ("strings 'provider:subject'", r"[^:\s]+:.+"),
}


def _admission(text: str) -> Admission:
    name = "JENNAH_ADMIT"
    if text == "everyone":
        return Admission(everyone=True)
    rules = _json(name, text)
    if not isinstance(rules, dict) or rules.keys() - _ADMITTED:
        raise SettingsError(f'{name} must be "everyone" or an object with "emails", "domains" or "subjects".')
    for key, values in rules.items():
        meaning, shape = _ADMITTED[key]
        if not isinstance(values, list) or not all(
            isinstance(value, str) and re.fullmatch(shape, value) for value in values
        ):
            raise SettingsError(f"{name}.{key} must be a list of {meaning}.")
    return Admission(
        emails=frozenset(value.lower() for value in rules.get("emails", ())),
        domains=frozenset(value.lower() for value in rules.get("domains", ())),
        subjects=frozenset(rules.get("subjects", ())),
    )


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
        if not 0.001 <= seconds <= 86_400:
            raise SettingsError(f"{name} must be a number of seconds from 0.001 to 86400, not {text!r}.")
        changed[setting] = timedelta(seconds=seconds)
    return Timing(**changed)
