"""What IAM's policies must grant, by the rows of docs/permissions.md, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from google.api_core import exceptions

from jennah.operations.doctor import Finding, Service, Verdict, is_off
from jennah.operations.google_rest import GoogleRest
from shared.config import Settings

READER: Final = "roles/iam.securityReviewer"
"""The role that lets an operator read all these policies."""


@dataclass(frozen=True, slots=True)
class Right:
    """A binding of docs/permissions.md: its role, other roles that are enough, and what happens without."""

    role: str
    without: str
    also: tuple[str, ...] = ()


RIGHTS: Final[Mapping[str, Right]] = MappingProxyType(
    {
        "google_pubsub_topic_iam_member.pubsub_publishes_dead_letters": Right(
            "roles/pubsub.publisher", "dead letters are lost", ("roles/pubsub.editor",)
        ),
        "google_pubsub_subscription_iam_member.pubsub_takes_dead_letters": Right(
            "roles/pubsub.subscriber", "what is refused comes until it expires", ("roles/pubsub.editor",)
        ),
        # Pub/Sub's agent may do it in the whole project where Google gave it its own role.
        "google_service_account_iam_member.pubsub_signs_pushes": Right(
            "roles/iam.serviceAccountOpenIdTokenCreator",
            "pushes have no token",
            ("roles/iam.serviceAccountTokenCreator", "roles/pubsub.serviceAgent"),
        ),
        "google_cloud_run_service_iam_member.push": Right("roles/run.invoker", "every push is refused"),
        "google_service_account_iam_member.scheduling_acts_as_job": Right(
            "roles/iam.serviceAccountUser", "no Batch job can be made"
        ),
        "google_project_iam_member.job_reports": Right(
            "roles/batch.agentReporter", "jobs never leave SCHEDULED"
        ),
        "google_project_iam_member.job_writes_logs": Right(
            "roles/logging.logWriter", "what jobs write is lost"
        ),
        "google_pubsub_topic_iam_member.job_publishes_events": Right(
            "roles/pubsub.publisher", "ends of jobs are seen late, by reconciliation"
        ),
        "google_artifact_registry_repository_iam_member.job_pulls_images": Right(
            "roles/artifactregistry.reader", "images of that repository can't be run"
        ),
        "google_spanner_database_iam_member.functions": Right(
            "google_project_iam_custom_role.database_writer",
            "it can do nothing",
            ("roles/spanner.databaseUser",),
        ),
        "google_pubsub_topic_iam_member.functions_publish_jobs": Right(
            "roles/pubsub.publisher", "jobs start late, by reconciliation, or never"
        ),
        "google_project_iam_member.batch": Right(
            "roles/batch.jobsEditor", "it can neither make, read nor cancel Batch jobs"
        ),
        "google_project_iam_member.submission_reads_logs": Right(
            "google_project_iam_custom_role.log_reader",
            "`jennah logs` shows nothing",
            ("roles/logging.viewer",),
        ),
    }
)

NOT_JUDGED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "google_cloud_run_service_iam_member.submission": "the check of the API asks as a caller does",
        "google_secret_manager_secret_iam_member.functions": "a function without it can't be deployed",
        "google_project_iam_member.build_reads_source": "a build without it fails and says so",
        "google_artifact_registry_repository_iam_member.build_pushes_functions": "likewise",
        "google_project_iam_member.build_writes_logs": "likewise",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """Something that has a policy: its name, where the policy is, and the command that adds to it."""

    what: str
    api: str
    path: str
    grant: str
    post: bool = False


class Policies:
    """The policies of a deployment, as the operator may read them."""

    def __init__(self, settings: Settings, rest: GoogleRest) -> None:
        self._settings = settings
        self._rest = rest

    @property
    def project(self) -> Place:
        """The project, whose roles hold for all that is in it."""
        name = self._settings.project
        grant = f"gcloud projects add-iam-policy-binding {name} --condition=None"
        return Place(f"project {name}", "cloudresourcemanager", f"v3/projects/{name}", grant, post=True)

    def topic(self, name: str) -> Place:
        """A topic."""
        project = self._settings.project
        grant = f"gcloud pubsub topics add-iam-policy-binding {name} --project={project}"
        return Place(f"topic {name}", "pubsub", f"v1/projects/{project}/topics/{name}", grant)

    def subscription(self, name: str) -> Place:
        """A subscription."""
        project = self._settings.project
        grant = f"gcloud pubsub subscriptions add-iam-policy-binding {name} --project={project}"
        return Place(f"subscription {name}", "pubsub", f"v1/projects/{project}/subscriptions/{name}", grant)

    def account(self, email: str) -> Place:
        """A service account."""
        project = self._settings.project
        grant = f"gcloud iam service-accounts add-iam-policy-binding {email} --project={project}"
        path = f"v1/projects/{project}/serviceAccounts/{email}"
        return Place(f"account {email}", "iam", path, grant, post=True)

    def service(self, name: str) -> Place:
        """A service of Cloud Run in the deployment's region."""
        project, region = self._settings.project, self._settings.region
        grant = f"gcloud run services add-iam-policy-binding {name} --region={region} --project={project}"
        return Place(
            f"service {name}", "run", f"v2/projects/{project}/locations/{region}/services/{name}", grant
        )

    def repository(self, name: str) -> Place:
        """A repository of images in the deployment's region."""
        project, region = self._settings.project, self._settings.region
        grant = (
            f"gcloud artifacts repositories add-iam-policy-binding {name} --location={region} "
            f"--project={project}"
        )
        path = f"v1/projects/{project}/locations/{region}/repositories/{name}"
        return Place(f"repository {name}", "artifactregistry", path, grant)

    @property
    def database(self) -> Place:
        """The database."""
        project, instance = self._settings.project, self._settings.spanner_instance
        name = self._settings.spanner_database
        grant = (
            f"gcloud spanner databases add-iam-policy-binding {name} --instance={instance} "
            f"--project={project}"
        )
        path = f"v1/projects/{project}/instances/{instance}/databases/{name}"
        return Place(f"database {instance}/{name}", "spanner", path, grant, post=True)

    def findings(self, check: str, binding: str, email: str, *places: Place) -> Iterator[Finding]:
        """What is wrong where an account must have the right of a binding; nothing, where it has it."""
        right, member = RIGHTS[binding], f"serviceAccount:{email}"
        enough = {self._role(role) for role in (right.role, *right.also)}
        for place in places:
            try:
                had = self._roles(place, member)
                if not had & enough and place != self.project:
                    had = self._roles_on_project(member)
            except exceptions.NotFound:
                continue  # the check that is about the thing itself says so
            except exceptions.GoogleAPIError as error:
                yield unread(
                    check,
                    error,
                    what=f"the policy of {place.what}",
                    api=place.api,
                    role=READER,
                    project=self._settings.project,
                )
                continue
            if not had & enough:
                role = self._role(right.role)
                found = f"{email} lacks {role} on {place.what}: {right.without}"
                yield Finding(check, Verdict.TO_FIX, found, f"{place.grant} --member={member} --role={role}")

    def _role(self, role: str) -> str:
        """The full name of a role: Terraform's own ones are the project's."""
        name = role.removeprefix("google_project_iam_custom_role.")
        if name == role:
            return role
        prefix = self._settings.deployment.replace("-", "_")
        return f"projects/{self._settings.project}/roles/{prefix}_{name}"

    def _roles(self, place: Place, member: str) -> set[str]:
        # Bindings with a condition come under other names than their role's: they are not counted.
        policy = self._rest.read(place.api, f"{place.path}:getIamPolicy", post=place.post)
        bindings: list[dict[str, Any]] = policy.get("bindings", [])
        return {binding["role"] for binding in bindings if member in binding.get("members", ())}

    def _roles_on_project(self, member: str) -> set[str]:
        """A role on the project holds, too. Who may not read that policy judges by the narrower one."""
        try:
            return self._roles(self.project, member)
        except exceptions.Forbidden:
            return set()


def unread(check: str, error: Exception, *, what: str, api: str, role: str, project: str) -> Finding:
    """What it means that something could not be read: where it is for lack of a right, nothing."""
    service = Service(f"{api}.googleapis.com", f"{api}.googleapis.com", role, project)
    if isinstance(error, exceptions.Forbidden) and not is_off(error):
        found = f"not judged: your account may not read {what}, which {role} would let it"
        return Finding(check, Verdict.NOT_APPLICABLE, found)
    return service.failure(check, error)
