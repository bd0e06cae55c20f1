"""The doctor's look at the settings, the API's address, and the operator's own credentials."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.client import HTTPException

import google.auth
import httpx
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from jennah.endpoint import is_loopback
from jennah.operations.doctor import CALL_SECONDS, Deployment, Finding, Verdict, no_credentials
from shared.callers import Admission
from shared.config import Settings
from shared.signing_keys import published_keys

_CLOUD = ["https://www.googleapis.com/auth/cloud-platform"]


def settings_findings(deployment: Deployment) -> Iterator[Finding]:
    """What the settings say of themselves."""
    settings = deployment.settings
    where = f"{settings.deployment} in {settings.project}, region {settings.region}"
    database = f"database {settings.spanner_instance}/{settings.spanner_database}"
    topics = f"topics {settings.jobs_topic}, {settings.batch_events_topic}, {deployment.ticks_topic}"
    yield Finding("settings", Verdict.INFORMATION, f"{where}; {database}; {topics}")
    yield _admission(settings)
    yield _operators(settings)
    yield _job_account(deployment)


def issuer_findings(settings: Settings) -> Iterator[Finding]:
    """Whether each issuer's keys can be had, as `submission` gets them."""
    check = "issuers"
    if not settings.issuers:
        yield Finding(
            check,
            Verdict.TO_FIX,
            "no token is accepted: JENNAH_OIDC_ISSUERS is empty",
            "set oidc_issuers in terraform.tfvars (JENNAH_OIDC_ISSUERS: docs/identity.md), and deploy",
        )
    for issuer in settings.issuers:
        try:
            keys = published_keys(issuer.issuer, issuer.jwks_uri)
        except (OSError, HTTPException, ValueError) as error:
            place = issuer.jwks_uri or f"{issuer.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = f"the keys of {issuer.issuer} can't be had ({error})"
            yield Finding(check, Verdict.TO_FIX, found, f"curl -fsS {place}")
        else:
            yield Finding(check, Verdict.WELL, f"{issuer.issuer}: {len(keys)} keys, as {issuer.provider!r}")


def credential_findings(deployment: Deployment) -> Iterator[Finding]:
    """Whether Google knows who is asking."""
    check = "credentials"
    if deployment.on_emulators:
        yield Finding(check, Verdict.NOT_APPLICABLE, "the local cloud asks for none")
        return
    try:
        credentials, _ = google.auth.default(scopes=_CLOUD)
        credentials.refresh(partial(Request(), timeout=CALL_SECONDS))
    except GoogleAuthError as error:
        yield no_credentials(check, " ".join(str(error).split()).rstrip("."))
    else:
        who = getattr(credentials, "service_account_email", None) or "your own"
        yield Finding(check, Verdict.WELL, f"{who}, accepted")


def api_findings(deployment: Deployment) -> Iterator[Finding]:
    """Whether the API answers where clients look for it."""
    check, url = "API", deployment.url
    if not url:
        yield Finding(check, Verdict.NOT_APPLICABLE, "JENNAH_URL is not set")
        return
    again = "make up" if is_loopback(url) else f"curl -v {url}/health"
    try:
        answer = httpx.get(f"{url}/health", timeout=CALL_SECONDS, trust_env=not is_loopback(url))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding(check, Verdict.UNREACHABLE, f"{url} does not answer ({error})", again)
        return
    if answer.status_code == httpx.codes.OK:
        yield Finding(check, Verdict.WELL, f"answers at {url}")
        return
    found = f"{url}/health is answered by {answer.status_code}"
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        found += ": Google asks callers for a login, where Jennah should (docs/identity.md)"
        again = (
            f"gcloud run services add-iam-policy-binding {deployment.settings.deployment}-submission "
            f"--member=allUsers --role=roles/run.invoker --region={deployment.settings.region} "
            f"--project={deployment.settings.project} (where your organisation forbids that: "
            f"gcloud run services update {deployment.settings.deployment}-submission --no-invoker-iam-check "
            f"--region={deployment.settings.region} --project={deployment.settings.project}, or another way "
            "of terraform/README.md, Organisations that forbid public services)"
        )
    yield Finding(check, Verdict.TO_FIX, found, again)


def _admission(settings: Settings) -> Finding:
    check, admitted = "admission", settings.admission
    if admitted == Admission():
        return Finding(
            check,
            Verdict.TO_FIX,
            "nobody may become a tenant: JENNAH_ADMIT is empty",
            "set admit in terraform.tfvars (JENNAH_ADMIT: docs/identity.md), and deploy",
        )
    if admitted.everyone:
        return Finding(check, Verdict.WELL, "everyone with a token of these issuers")
    return Finding(check, Verdict.WELL, _counted(admitted))


def _operators(settings: Settings) -> Finding:
    check, listed, claim = "operators", settings.operators.listed, settings.operators.claim
    if claim is None and listed == Admission():
        return Finding(
            check, Verdict.INFORMATION, "nobody may read across tenants: JENNAH_OPERATORS is empty"
        )
    named = [] if listed == Admission() else [_counted(listed)]
    if claim is not None:
        named.append(f"tokens of {claim.provider!r} whose {claim.name} is {claim.value!r}")
    return Finding(check, Verdict.WELL, "; ".join(named))


def _job_account(deployment: Deployment) -> Finding:
    check, account = "job account", deployment.settings.job_service_account
    if account:
        return Finding(check, Verdict.WELL, account)
    if deployment.settings.batch_emulator_host:
        return Finding(check, Verdict.NOT_APPLICABLE, "local jobs are processes of yours")
    return Finding(
        check,
        Verdict.TO_FIX,
        "jobs run as the project's default account: JENNAH_JOB_SERVICE_ACCOUNT is empty",
        f"gcloud iam service-accounts create jennah-job --project={deployment.settings.project} "
        "(then docs/jobs.md: its roles, and the setting)",
    )


def _counted(admitted: Admission) -> str:
    parts = {"emails": admitted.emails, "domains": admitted.domains, "subjects": admitted.subjects}
    return ", ".join(f"{len(values)} {kind}" for kind, values in parts.items() if values)
