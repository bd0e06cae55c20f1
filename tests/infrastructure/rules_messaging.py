"""Rules about topics and subscriptions: no message is lost, none comes from a stranger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.config import Timing
from tests.infrastructure.configuration import Configuration, only
from tests.infrastructure.hcl import Block, references

_PUSH_ACCOUNT = "${google_service_account.push.email}"
_DEAD = "${google_pubsub_topic.dead[each.key].id}"
_SERVICE = "${google_cloudfunctions2_function.functions[each.value.function].service_config[0].uri}"
_WEEK = "604800s"


def _pushed(configuration: Configuration) -> Iterator[Block]:
    for block in configuration.resources("google_pubsub_subscription"):
        if block.kind == "google_pubsub_subscription" and "push_config" in block.body:
            yield block


def _keeping(configuration: Configuration) -> Iterator[Block]:
    for block in configuration.resources("google_pubsub_subscription"):
        if block.kind == "google_pubsub_subscription" and "push_config" not in block.body:
            yield block


def subscribed(configuration: Configuration) -> Iterator[str]:
    """Every topic has a subscription for each of its names, and that is of the topic of that name."""
    subscriptions = [*_pushed(configuration), *_keeping(configuration)]
    for topic in configuration.resources("google_pubsub_topic"):
        if topic.kind == "google_pubsub_topic" and not any(
            block.body.get("topic") == f"${{{topic.address}[each.key].id}}"
            and block.body.get("for_each") == topic.body.get("for_each")
            for block in subscriptions
        ):
            yield f"{topic.address} has no subscription: what comes there is lost"


def dead_letters(configuration: Configuration) -> Iterator[str]:
    """What can't be delivered is kept, for each topic in one of its own that nobody but an operator reads."""
    kept = {name for block in _keeping(configuration) for name in references(block.body["topic"])}
    for block in _pushed(configuration):
        policy = only(block.body, "dead_letter_policy")
        if policy.get("dead_letter_topic") != _DEAD or not references(_DEAD) <= kept:
            yield f"{block.address} has no dead-letter topic of its own with a subscription that keeps"
        if policy.get("max_delivery_attempts") != "${each.value.deliveries}":
            yield f"{block.address}: max_delivery_attempts must be the topic's own"
    yield from _kept(configuration)


def _kept(configuration: Configuration) -> Iterator[str]:
    for block in _keeping(configuration):
        if block.body.get("message_retention_duration") != "${each.value.dead_days * 86400}s":
            yield f"{block.address} must keep dead letters for the topic's own dead_days"
        if not all(name == "google_pubsub_topic.dead" for name in references(block.body["topic"])):
            yield f"{block.address} is a pull subscription: only dead letters wait to be pulled"
    if configuration.variable("dead_letter_retention_days").get("default") != 31:
        yield "var.dead_letter_retention_days must be Pub/Sub's most, 31, unless it is said otherwise"
    for name, topic in configuration.locals["topics"].items():
        if name != "ticks" and topic["dead_days"] != "${var.dead_letter_retention_days}":
            yield f"local.topics.{name}: dead letters are kept for dead_letter_retention_days"
        if not 5 <= topic["deliveries"] <= 100:
            yield f"local.topics.{name}: deliveries must be 5 to 100, Pub/Sub takes no others"


def retries(configuration: Configuration) -> Iterator[str]:
    """A refused message comes again, later each time, and waits so long as Pub/Sub lets it."""
    for block in _pushed(configuration):
        policy = only(block.body, "retry_policy")
        if not {"minimum_backoff", "maximum_backoff"} <= policy.keys():
            yield f"{block.address} has no retry policy: Pub/Sub would repeat at once, without end"
        elif policy["minimum_backoff"] != "1s":
            yield f"{block.address}: minimum_backoff must be 1 s, below each topic's most_backoff"
        if block.body.get("message_retention_duration") != "${each.value.retention}":
            yield f"{block.address}: message_retention_duration must be the topic's own"
    for name, topic in configuration.locals["topics"].items():
        if not 10 <= _seconds(topic["most_backoff"]) <= 600:
            yield f"local.topics.{name}: most_backoff must be 10 to 600 s"
        # A tick that nobody took is worthless as soon as the next one comes.
        if name != "ticks" and topic["retention"] != _WEEK:
            yield f"local.topics.{name}: retention must be {_WEEK}, messages wait while a function can't run"


def oidc(configuration: Configuration) -> Iterator[str]:
    """A push goes to its topic's service, and proves with a token of the push account that it is ours."""
    for block in _pushed(configuration):
        push = only(block.body, "push_config")
        token = only(push, "oidc_token")
        if token.get("service_account_email") != _PUSH_ACCOUNT:
            yield f"{block.address}: pushes must bear a token of the push account"
        if push.get("push_endpoint") != _SERVICE:
            yield f"{block.address}: pushes must go to the topic's function, at service_config[0].uri"
        if token.get("audience") != push.get("push_endpoint"):
            yield f"{block.address}: Cloud Run takes tokens only whose audience is its own address"


def expiration(configuration: Configuration) -> Iterator[str]:
    """No subscription goes away because nothing happened for a month."""
    for block in [*_pushed(configuration), *_keeping(configuration)]:
        if only(block.body, "expiration_policy").get("ttl") != "":
            yield f'{block.address} expires: expiration_policy needs ttl = ""'


def deadlines(configuration: Configuration) -> Iterator[str]:
    """A function has answered, or been ended, before Pub/Sub gives its message to another instance."""
    service = only(configuration.resource("google_cloudfunctions2_function.functions"), "service_config")
    timeout = configuration.number(service.get("timeout_seconds", 0))
    if timeout != Timing().function_timeout.total_seconds():
        yield f"functions end after {timeout:.0f} s, shared/config.py counts on {Timing().function_timeout}"
    for block in _pushed(configuration):
        deadline = configuration.number(block.body.get("ack_deadline_seconds", 10))
        if not timeout < deadline <= 600:
            yield f"{block.address}: ack_deadline_seconds must be above the functions' timeout, 600 at most"


def topics(configuration: Configuration) -> Iterator[str]:
    """Each function that takes messages has one topic, as the local cloud has it too."""
    pushed_to = {topic["function"] for topic in configuration.locals["topics"].values()}
    if pushed_to != {"scheduling", "notification", "reconciliation"}:
        yield f"local.topics: pushes go to {', '.join(sorted(pushed_to))}"
    expected: Mapping[str, Any] = {
        "jobs": "scheduling",
        "batch_events": "notification",
        "ticks": "reconciliation",
    }
    for name, function in expected.items():
        if configuration.locals["topics"].get(name, {}).get("function") != function:
            yield f"local.topics.{name} must go to {function}"


def _seconds(text: str) -> int:
    return int(text.removesuffix("s"))
