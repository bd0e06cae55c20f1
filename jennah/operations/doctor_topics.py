"""The doctor's look at Pub/Sub: that every topic is pushed to its function, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import Subscription

from jennah.operations.doctor import CALL_SECONDS, Deployment, Finding, Service, Verdict

FUNCTIONS: Final[Mapping[str, str]] = {
    "jobs": "scheduling",
    "batch-events": "notification",
    "ticks": "reconciliation",
}
"""Which function each topic is pushed to, by what the topic is for."""

_Problem = tuple[str, str]
_ASK: Final[dict[str, Any]] = {"retry": None, "timeout": CALL_SECONDS}


def pubsub(deployment: Deployment) -> Service:
    """Pub/Sub, or its emulator."""
    host = deployment.pubsub_emulator_host
    emulator = ("PUBSUB_EMULATOR_HOST", host) if host else None
    project = deployment.settings.project
    return Service("Pub/Sub", "pubsub.googleapis.com", "roles/pubsub.viewer", project, emulator)


def topic_name(deployment: Deployment, role: str) -> str:
    """What the topic is called that is for this: a key of `FUNCTIONS`."""
    return {
        "jobs": deployment.settings.jobs_topic,
        "batch-events": deployment.settings.batch_events_topic,
        "ticks": deployment.ticks_topic,
    }[role]


def topic_findings(deployment: Deployment, role: str) -> Iterator[Finding]:
    """A topic, what pushes it, and what keeps its dead letters.

    Args:
        deployment: the deployment.
        role: a key of `FUNCTIONS`.
    """
    service, settings = pubsub(deployment), deployment.settings
    topic = topic_name(deployment, role)
    check, path = f"topic {topic}", f"projects/{settings.project}/topics/{topic}"
    project = f"--project={settings.project}"
    publisher, subscriber = PublisherClient(), SubscriberClient()
    try:
        publisher.get_topic(topic=path, **_ASK)
        names = list(publisher.list_topic_subscriptions(topic=path, **_ASK))
    except exceptions.NotFound:
        fix = service.fix(f"gcloud pubsub topics create {topic} {project}")
        yield Finding(check, Verdict.TO_FIX, f"there is no topic {topic}", fix)
        return
    subscriptions = [subscriber.get_subscription(subscription=name, **_ASK) for name in names]
    pushing = [each for each in subscriptions if each.push_config.push_endpoint]
    problems = []
    if not pushing:
        command = (
            f"gcloud pubsub subscriptions create {topic} --topic={topic} --ack-deadline=90 "
            f"--push-endpoint=URL-OF-{FUNCTIONS[role].upper()} {project}"
        )
        problems.append((f"nothing pushes it to {FUNCTIONS[role]}", command))
    for subscription in pushing:
        problems += subscription_problems(
            subscription,
            topic,
            function_seconds=settings.timing.function_timeout.total_seconds(),
            emulated=service.emulator is not None,
        )
    problems += _dead_letter_problems(publisher, subscriber, settings.project, topic)
    for problem, command in problems:
        yield Finding(check, Verdict.TO_FIX, problem, service.fix(command))
    if problems:
        return
    [first, *_] = pushing
    kept = f"{FUNCTIONS[role]} at {first.push_config.push_endpoint}; dead letters in {topic}-dead"
    yield Finding(check, Verdict.WELL, kept)


def subscription_problems(
    subscription: Subscription, topic: str, *, function_seconds: float, emulated: bool
) -> list[_Problem]:
    """What is wrong with a subscription that pushes, and the command against it.

    Retry policy, expiry, https and tokens are not judged where it is `emulated`: the emulator has no use for
    them.
    """
    _, project, _, name = subscription.name.split("/")
    update = f"gcloud pubsub subscriptions update {name} --project={project}"
    dead, endpoint = f"{topic}-dead", subscription.push_config.push_endpoint
    problems = []
    if subscription.detached:
        create = f"gcloud pubsub subscriptions delete {name} --project={project} (then make it again)"
        problems.append((f"the subscription {name} is detached: it gets nothing", create))
    if subscription.filter:
        delete = f"gcloud pubsub subscriptions delete {name} --project={project} (then make it without)"
        problems.append((f"the subscription {name} has a filter: messages may be missed", delete))
    if subscription.ack_deadline_seconds <= function_seconds:
        found = (
            f"the acknowledgement deadline of {name} is {subscription.ack_deadline_seconds} s, and a "
            f"function may take {function_seconds:.0f} s: what it still works on comes twice"
        )
        problems.append((found, f"{update} --ack-deadline=90"))
    dead_letters = subscription.dead_letter_policy.dead_letter_topic
    if dead_letters != f"projects/{project}/topics/{dead}":
        found = (
            f"the dead letters of {name} go to {dead_letters}, where `jennah dead-letters` does not look"
            if dead_letters
            else f"the subscription {name} has no dead-letter topic: what is refused comes until it expires"
        )
        problems.append((found, f"{update} --dead-letter-topic={dead} --max-delivery-attempts=100"))
    if emulated:
        return problems
    if not endpoint.startswith("https://"):
        found = f"the subscription {name} pushes to {endpoint}, which is no https address"
        problems.append((found, f"{update} --push-endpoint=URL"))
    if not subscription.push_config.oidc_token.service_account_email:
        found = f"the subscription {name} pushes without a token: the function refuses it"
        problems.append((found, f"{update} --push-endpoint={endpoint} --push-auth-service-account=ACCOUNT"))
    if "retry_policy" not in subscription:
        found = f"the subscription {name} has no retry policy: what is refused comes again at once"
        problems.append((found, f"{update} --min-retry-delay=1s --max-retry-delay=600s"))
    if "expiration_policy" not in subscription or "ttl" in subscription.expiration_policy:
        problems.append(
            (f"the subscription {name} expires when nothing comes", f"{update} --expiration-period=never")
        )
    return problems


def permission_findings(deployment: Deployment) -> Iterator[Finding]:
    """Whether the operator may do with the topics what operators' commands do."""
    check, service, settings = "permissions on topics", pubsub(deployment), deployment.settings
    if service.emulator:
        yield Finding(check, Verdict.NOT_APPLICABLE, "the emulator lets everybody do everything")
        yield Finding(
            "retry policy, tokens, expiry", Verdict.NOT_APPLICABLE, "the emulator has no use for them"
        )
        return
    publisher, subscriber = PublisherClient(), SubscriberClient()
    project, missing = f"projects/{settings.project}", []
    for topic in (settings.jobs_topic, settings.batch_events_topic):
        for client, resource, permission, role in (
            (publisher, f"topics/{topic}", "pubsub.topics.publish", "roles/pubsub.publisher"),
            (
                subscriber,
                f"subscriptions/{topic}-dead",
                "pubsub.subscriptions.consume",
                "roles/pubsub.subscriber",
            ),
        ):
            request = {"resource": f"{project}/{resource}", "permissions": [permission]}
            try:
                answer = client.test_iam_permissions(request=request, **_ASK)
            except exceptions.NotFound:
                continue  # the check of the topic says so
            if permission not in answer.permissions:
                missing.append((f"your account lacks {permission} on {resource}", role))
    for found, role in missing:
        yield Finding(check, Verdict.TO_FIX, found, service.grant(role))
    if not missing:
        yield Finding(check, Verdict.WELL, "dead letters can be read and replayed")


def _dead_letter_problems(
    publisher: PublisherClient, subscriber: SubscriberClient, project: str, topic: str
) -> list[_Problem]:
    dead = f"{topic}-dead"
    problems = []
    try:
        publisher.get_topic(topic=f"projects/{project}/topics/{dead}", **_ASK)
    except exceptions.NotFound:
        create = f"gcloud pubsub topics create {dead} --project={project}"
        problems.append((f"there is no topic {dead}: dead letters are lost", create))
    try:
        subscriber.get_subscription(subscription=f"projects/{project}/subscriptions/{dead}", **_ASK)
    except exceptions.NotFound:
        create = f"gcloud pubsub subscriptions create {dead} --topic={dead} --expiration-period=never"
        problems.append(
            (f"there is no subscription {dead}: dead letters are lost", f"{create} --project={project}")
        )
    return problems
