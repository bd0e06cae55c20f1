"""What may be broken in who may do what in Google's cloud, and what the doctor must say of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.google_apis import AGENT, PLACE, PROJECT, RUN, TICK, account, policy

OF_PROJECT = f"cloudresourcemanager/v3/projects/{PROJECT}:getIamPolicy"

Break = Callable[[dict[str, Any]], object]


def put(path: str, value: Any) -> Break:
    def change(answers: dict[str, Any]) -> None:
        assert path in answers
        answers[path] = value

    return change


def without(path: str, member: str, role: str) -> Break:
    """Nobody has that role any more who is called so."""

    def change(answers: dict[str, Any]) -> None:
        (binding,) = (each for each in answers[path]["bindings"] if each["role"] == role)
        binding["members"].remove(member)

    return change


def pushing(**changed: str) -> Break:
    """Change the subscription `jobs`."""

    def change(answers: dict[str, Any]) -> None:
        push = answers[f"pubsub/{PLACE}/subscriptions/jobs"]["pushConfig"]
        push["pushEndpoint"] = changed.get("endpoint", push["pushEndpoint"])
        push["oidcToken"]["audience"] = changed.get("audience", push["oidcToken"]["audience"])

    return change


def of(name: str) -> str:
    return f"serviceAccount:{account(name)}"


IN_PROJECT = f"--project={PROJECT}"
HERE = f"us-central1 {IN_PROJECT}"
AT = "https://jennah-scheduling-abc-uc.a.run.app"
MENDED = (
    f"gcloud pubsub subscriptions update jobs {IN_PROJECT} --push-endpoint={AT} "
    f"--push-auth-service-account={account('push')} --push-auth-token-audience={AT}"
)

BROKEN: dict[str, tuple[Break, str, str, str]] = {
    # what is done: the check that says so, its words, its remedy
    "Pub/Sub may not publish dead letters": (
        put(f"pubsub/{PLACE}/topics/jobs-dead:getIamPolicy", {"etag": "ACAB"}),
        "push to scheduling",
        "lacks roles/pubsub.publisher on topic jobs-dead: dead letters are lost",
        (
            f"gcloud pubsub topics add-iam-policy-binding jobs-dead {IN_PROJECT} "
            f"--member={AGENT} --role=roles/pubsub.publisher"
        ),
    ),
    "Pub/Sub may not take dead letters": (
        put(f"pubsub/{PLACE}/subscriptions/batch-events:getIamPolicy", policy()),
        "push to notification",
        "lacks roles/pubsub.subscriber on subscription batch-events: what is refused comes until it expires",
        (
            f"gcloud pubsub subscriptions add-iam-policy-binding batch-events {IN_PROJECT} "
            f"--member={AGENT} --role=roles/pubsub.subscriber"
        ),
    ),
    "the push account may not call the function": (
        put(f"run/{RUN}reconciliation:getIamPolicy", policy(roles__run_dot_invoker=[of("job")])),
        "push to reconciliation",
        "lacks roles/run.invoker on service jennah-reconciliation: every push is refused",
        (
            f"gcloud run services add-iam-policy-binding jennah-reconciliation --region={HERE} "
            f"--member={of('push')} --role=roles/run.invoker"
        ),
    ),
    "the endpoint is another function's": (
        pushing(endpoint="https://jennah-notification-abc-uc.a.run.app"),
        "push to scheduling",
        f"pushes to https://jennah-notification-abc-uc.a.run.app, and jennah-scheduling is at {AT}",
        MENDED,
    ),
    "the tokens are for another audience": (
        pushing(audience="https://jennah.example.com"),
        "push to scheduling",
        f"are made for https://jennah.example.com, and jennah-scheduling takes {AT}: every push is refused",
        MENDED,
    ),
    "scheduling may not act as the jobs' account": (
        without(
            f"iam/{PLACE}/serviceAccounts/{account('job')}:getIamPolicy",
            of("scheduling"),
            "roles/iam.serviceAccountUser",
        ),
        "jobs' account",
        f"lacks roles/iam.serviceAccountUser on account {account('job')}: no Batch job can be made",
        (
            f"gcloud iam service-accounts add-iam-policy-binding {account('job')} {IN_PROJECT} "
            f"--member={of('scheduling')} --role=roles/iam.serviceAccountUser"
        ),
    ),
    "jobs may not report": (
        without(OF_PROJECT, of("job"), "roles/batch.agentReporter"),
        "jobs' account",
        f"lacks roles/batch.agentReporter on project {PROJECT}: jobs never leave SCHEDULED",
        (
            f"gcloud projects add-iam-policy-binding {PROJECT} --condition=None "
            f"--member={of('job')} --role=roles/batch.agentReporter"
        ),
    ),
    "jobs may not log": (
        without(OF_PROJECT, of("job"), "roles/logging.logWriter"),
        "jobs' account",
        f"lacks roles/logging.logWriter on project {PROJECT}: what jobs write is lost",
        "--role=roles/logging.logWriter",
    ),
    "jobs may not notify": (
        without(f"pubsub/{PLACE}/topics/batch-events:getIamPolicy", of("job"), "roles/pubsub.publisher"),
        "jobs' account",
        "lacks roles/pubsub.publisher on topic batch-events",
        f"gcloud pubsub topics add-iam-policy-binding batch-events {IN_PROJECT} --member={of('job')}",
    ),
    "jobs may not pull their images": (
        put(
            f"artifactregistry/{PLACE}/locations/us-central1/repositories/jennah-jobs:getIamPolicy", policy()
        ),
        "jobs' account",
        "lacks roles/artifactregistry.reader on repository jennah-jobs",
        (
            f"gcloud artifacts repositories add-iam-policy-binding jennah-jobs --location={HERE} "
            f"--member={of('job')}"
        ),
    ),
    "a function may not use the database": (
        without(
            f"spanner/{PLACE}/instances/jennah/databases/main:getIamPolicy",
            of("notification"),
            f"projects/{PROJECT}/roles/jennah_database_writer",
        ),
        "functions' accounts",
        (
            f"{account('notification')} lacks projects/{PROJECT}/roles/jennah_database_writer "
            f"on database jennah/main"
        ),
        (
            f"gcloud spanner databases add-iam-policy-binding main --instance=jennah {IN_PROJECT} "
            f"--member={of('notification')}"
        ),
    ),
    "a function may not publish jobs": (
        without(f"pubsub/{PLACE}/topics/jobs:getIamPolicy", of("submission"), "roles/pubsub.publisher"),
        "functions' accounts",
        f"{account('submission')} lacks roles/pubsub.publisher on topic jobs",
        f"gcloud pubsub topics add-iam-policy-binding jobs {IN_PROJECT} --member={of('submission')}",
    ),
    "a function may not use Batch": (
        without(OF_PROJECT, of("scheduling"), "roles/batch.jobsEditor"),
        "functions' accounts",
        f"{account('scheduling')} lacks roles/batch.jobsEditor on project {PROJECT}",
        "--role=roles/batch.jobsEditor",
    ),
    "submission may not read logs": (
        without(OF_PROJECT, of("submission"), f"projects/{PROJECT}/roles/jennah_log_reader"),
        "functions' accounts",
        f"{account('submission')} lacks projects/{PROJECT}/roles/jennah_log_reader on project {PROJECT}",
        f"--role=projects/{PROJECT}/roles/jennah_log_reader",
    ),
    "the tick is paused": (
        lambda answers: answers[TICK].update(state="PAUSED"),
        "tick",
        "jennah-tick is paused: reconciliation does not run",
        f"gcloud scheduler jobs resume jennah-tick --location={HERE}",
    ),
    "the tick goes elsewhere": (
        lambda answers: answers[TICK]["pubsubTarget"].update(topicName=f"projects/{PROJECT}/topics/jobs"),
        "tick",
        f"jennah-tick publishes to projects/{PROJECT}/topics/jobs, not to projects/{PROJECT}/topics/ticks",
        (
            f"gcloud scheduler jobs update pubsub jennah-tick --location={HERE} "
            f"--topic=projects/{PROJECT}/topics/ticks"
        ),
    ),
    "there is no tick": (
        lambda answers: answers.pop(TICK),
        "tick",
        "Cloud Scheduler has no job jennah-tick in us-central1: reconciliation never runs",
        f"gcloud scheduler jobs create pubsub jennah-tick --location={HERE} --schedule='* * * * *'",
    ),
}
