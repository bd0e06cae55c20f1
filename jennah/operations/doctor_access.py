"""The doctor's look at who may do what in Google's cloud: pushes, functions, the jobs' account, the tick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from google.api_core import exceptions

from jennah.operations.doctor import Check, Deployment, Finding, Service, Verdict
from jennah.operations.doctor_policies import READER, Policies, unread
from jennah.operations.doctor_topics import FUNCTIONS, topic_name
from jennah.operations.google_rest import GoogleRest

_ALL: Final = ("submission", *FUNCTIONS.values())
_IN_BATCH: Final = tuple(FUNCTIONS.values())


class _Missing(Exception):
    """What a check is about is not there, or may not be read: the finding says which."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


def access_checks(
    deployment: Deployment, rest: GoogleRest | None = None
) -> Sequence[tuple[str, Service | None, Check]]:
    """The checks, each with what it may report on."""
    if deployment.emulated:
        local = Finding("access", Verdict.NOT_APPLICABLE, "the local cloud lets everybody do everything")
        return [("access", None, lambda: [local])]
    access = Access(deployment, rest or GoogleRest())
    project = deployment.settings.project
    google = Service("Google Cloud", "cloudresourcemanager.googleapis.com", READER, project)
    return [
        *(
            (f"push to {function}", google, partial(access.push, role))
            for role, function in FUNCTIONS.items()
        ),
        ("functions' accounts", google, access.functions),
        ("jobs' account", google, access.jobs),
        ("tick", google, access.tick),
    ]


class Access:
    """Who may do what in a deployment, as far as the operator may read it."""

    def __init__(self, deployment: Deployment, rest: GoogleRest) -> None:
        self._deployment = deployment
        self._settings = deployment.settings
        self._rest = rest
        self._policies = Policies(deployment.settings, rest)

    def push(self, role: str) -> Iterator[Finding]:
        """Whether a topic's messages reach their function, and its dead letters their topic."""
        check, topic = f"push to {FUNCTIONS[role]}", topic_name(self._deployment, role)
        yield from _told(
            check, f"{topic} reaches it; what it refuses is kept", self._push(check, role, topic)
        )

    def functions(self) -> Iterator[Finding]:
        """Whether each function's account may do what its calls need."""
        check = "functions' accounts"
        yield from _told(check, "each may do what its function does", self._functions(check))

    def jobs(self) -> Iterator[Finding]:
        """Whether jobs can be started as their account, and whether that may do what Batch needs."""
        check = "jobs' account"
        if not self._settings.job_service_account:
            yield Finding(check, Verdict.NOT_APPLICABLE, "JENNAH_JOB_SERVICE_ACCOUNT is not set")
            return
        well = "scheduling may start jobs as it; it may report, log and notify"
        yield from _told(check, well, self._jobs(check, self._settings.job_service_account))

    def tick(self) -> Iterator[Finding]:
        """Whether Cloud Scheduler wakes reconciliation."""
        check, settings = "tick", self._settings
        name, where = (
            f"{settings.deployment}-tick",
            f"--location={settings.region} --project={settings.project}",
        )
        path = f"v1/projects/{settings.project}/locations/{settings.region}/jobs/{name}"
        topic = f"projects/{settings.project}/topics/{self._deployment.ticks_topic}"
        try:
            job = self._rest.read("cloudscheduler", path)
        except exceptions.NotFound:
            found = f"Cloud Scheduler has no job {name} in {settings.region}: reconciliation never runs"
            create = (
                f"gcloud scheduler jobs create pubsub {name} {where} --schedule='* * * * *' --topic={topic}"
            )
            yield Finding(check, Verdict.TO_FIX, found, f"{create} --message-body='{{}}'")
            return
        except exceptions.GoogleAPIError as error:
            yield self._unread(
                check, error, f"the job {name}", "cloudscheduler", "roles/cloudscheduler.viewer"
            )
            return
        target = job.get("pubsubTarget", {}).get("topicName", "")
        if target != topic:
            found = f"{name} publishes to {target or 'no topic'}, not to {topic}: reconciliation never runs"
            fix = f"gcloud scheduler jobs update pubsub {name} {where} --topic={topic}"
            yield Finding(check, Verdict.TO_FIX, found, fix)
        elif job.get("state") != "ENABLED":
            found = f"{name} is {str(job.get('state', 'not enabled')).lower()}: reconciliation does not run"
            yield Finding(check, Verdict.TO_FIX, found, f"gcloud scheduler jobs resume {name} {where}")
        else:
            yield Finding(check, Verdict.WELL, f"{name} is enabled, {job.get('schedule')}")

    def _push(self, check: str, role: str, topic: str) -> Iterator[Finding]:
        subscription = self._subscription(check, topic)
        push = subscription.get("pushConfig", {})
        token = push.get("oidcToken", {})
        endpoint, account = push.get("pushEndpoint", ""), token.get("serviceAccountEmail", "")
        if not endpoint or not account:
            return  # the check of the topic says so
        name = f"{self._settings.deployment}-{FUNCTIONS[role]}"
        service = self._service(check, name)
        urls = {service.get("uri"), *service.get("urls", ())}
        audience = token.get("audience") or endpoint
        update = (
            f"gcloud pubsub subscriptions update {topic} --project={self._settings.project} "
            f"--push-endpoint={service.get('uri')} --push-auth-service-account={account} "
            f"--push-auth-token-audience={service.get('uri')}"
        )
        if endpoint.rstrip("/") not in urls:
            found = f"the subscription {topic} pushes to {endpoint}, and {name} is at {service.get('uri')}"
            yield Finding(check, Verdict.TO_FIX, found, update)
        elif audience.rstrip("/") not in urls | set(service.get("customAudiences", ())):
            found = f"the tokens of {topic} are made for {audience}, and {name} takes {service.get('uri')}"
            yield Finding(check, Verdict.TO_FIX, f"{found}: every push is refused", update)
        if not service.get("invokerIamDisabled"):
            binding = "google_cloud_run_service_iam_member.push"
            yield from self._policies.findings(check, binding, account, self._policies.service(name))
        yield from self._of_pubsubs_agent(check, topic, account)

    def _of_pubsubs_agent(self, check: str, topic: str, push_account: str) -> Iterator[Finding]:
        project, policies = self._settings.project, self._policies
        try:
            number = self._rest.read("cloudresourcemanager", f"v3/projects/{project}")["name"].split("/")[1]
        except exceptions.GoogleAPIError as error:
            yield self._unread(check, error, "the project's number", "cloudresourcemanager", "roles/browser")
            return
        agent = f"service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"
        for binding, place in {
            "google_pubsub_topic_iam_member.pubsub_publishes_dead_letters": policies.topic(f"{topic}-dead"),
            "google_pubsub_subscription_iam_member.pubsub_takes_dead_letters": policies.subscription(topic),
            "google_service_account_iam_member.pubsub_signs_pushes": policies.account(push_account),
        }.items():
            yield from policies.findings(check, binding, agent, place)

    def _functions(self, check: str) -> Iterator[Finding]:
        policies = self._policies
        for function in _ALL:
            try:
                account = self._account(check, function)
            except _Missing as missing:
                yield missing.finding
                continue
            rights = {
                "google_spanner_database_iam_member.functions": policies.database,
                "google_pubsub_topic_iam_member.functions_publish_jobs": policies.topic(
                    self._settings.jobs_topic
                ),
            }
            if function in _IN_BATCH:
                rights["google_project_iam_member.batch"] = policies.project
            else:
                rights["google_project_iam_member.submission_reads_logs"] = policies.project
            for binding, place in rights.items():
                yield from policies.findings(check, binding, account, place)

    def _jobs(self, check: str, account: str) -> Iterator[Finding]:
        policies, settings = self._policies, self._settings
        for binding, place in {
            "google_project_iam_member.job_reports": policies.project,
            "google_project_iam_member.job_writes_logs": policies.project,
            "google_pubsub_topic_iam_member.job_publishes_events": policies.topic(
                settings.batch_events_topic
            ),
            "google_artifact_registry_repository_iam_member.job_pulls_images": policies.repository(
                f"{settings.deployment}-jobs"
            ),
        }.items():
            yield from policies.findings(check, binding, account, place)
        binding = "google_service_account_iam_member.scheduling_acts_as_job"
        scheduling = self._account(check, "scheduling")
        yield from policies.findings(check, binding, scheduling, policies.account(account))

    def _account(self, check: str, function: str) -> str:
        """The account that a function runs as."""
        service = self._service(check, f"{self._settings.deployment}-{function}")
        return str(service.get("template", {}).get("serviceAccount", ""))

    def _service(self, check: str, name: str) -> Mapping[str, Any]:
        place = self._policies.service(name)
        try:
            return self._rest.read(place.api, place.path)
        except exceptions.NotFound as error:
            found = f"Cloud Run has no service {name} in {self._settings.region}"
            fix = f"make deploy PROJECT={self._settings.project} APPLY=1"
            raise _Missing(Finding(check, Verdict.TO_FIX, found, fix)) from error
        except exceptions.GoogleAPIError as error:
            raise _Missing(self._unread(check, error, place.what, "run", "roles/run.viewer")) from error

    def _subscription(self, check: str, name: str) -> Mapping[str, Any]:
        place = self._policies.subscription(name)
        try:
            return self._rest.read(place.api, place.path)
        except exceptions.NotFound:
            return {}  # the check of the topic says so
        except exceptions.GoogleAPIError as error:
            raise _Missing(self._unread(check, error, place.what, "pubsub", "roles/pubsub.viewer")) from error

    def _unread(self, check: str, error: Exception, what: str, api: str, role: str) -> Finding:
        return unread(check, error, what=what, api=api, role=role, project=self._settings.project)


def _told(check: str, well: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """All that was found; that all is well, where it is nothing."""
    found = False
    try:
        for finding in findings:
            found = True
            yield finding
    except _Missing as missing:
        found = True
        yield missing.finding
    if not found:
        yield Finding(check, Verdict.WELL, well)
