"""Messages that a function refused until Pub/Sub gave up: read, replayed and discarded where they are kept.

Every topic T has a dead-letter topic `T-dead` with a pull subscription of the same name. A message there
can't be looked up: it is pulled, which hides it from others for the subscription's acknowledgement deadline,
and given back by setting that deadline to 0. Whatever dies in between, it shows again after the deadline.
Sources: the Pub/Sub documentation, "Dead-letter topics" and "Pull subscriptions".

Ticks are left out: one that is older than its interval does nothing, so there is nothing to replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from google.api_core import exceptions
from google.api_core.retry import Retry, if_transient_error
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import PubsubMessage, PullRequest

from jennah.operations.letters import DeadLetter, Describe, job_meaning, notification_meaning
from jennah.operations.reach import (
    Unreachable,
    is_about_credentials,
    no_credentials,
    one_line,
    unanswered,
)
from shared.config import Settings

_CALL_SECONDS: Final = 10.0
_WAIT_SECONDS: Final = 1.0
_GIVE_BACK_SECONDS: Final = 2.0
_RETRY: Final = Retry(predicate=if_transient_error, timeout=_CALL_SECONDS)
_MOST_IN_A_PULL: Final = 1_000  # the emulator gives 100
_MOST_IN_A_GIVE_BACK: Final = 1_000  # a request may have 512 KiB, an acknowledgement id has some 200 bytes


class DeadLettersError(Exception):
    """Nothing can be done. The message is one sentence with the remedy, for the operator."""


class Refused(DeadLettersError):
    """The source topic does not take this one message back; it stays a dead letter."""


class DeadLetters:
    """The dead letters of one topic.

    Every method raises `DeadLettersError` when Pub/Sub refuses, and `Unreachable` when it does not answer or
    does not let us in.
    """

    def __init__(self, project: str, topic: str, describe: Describe) -> None:
        self.topic = topic
        self._describe = describe
        self._project = project
        self._source = f"projects/{project}/topics/{topic}"
        self._subscription = f"projects/{project}/subscriptions/{topic}-dead"
        with self._one_sentence():
            self._subscriber = SubscriberClient()
            # Not the client of google.cloud: attributes are keywords there, so none could be called "topic".
            self._publisher = PublisherClient()

    @contextmanager
    def held(self) -> Iterator[Held]:
        """Hold messages within the block; at its end those that were not acknowledged are given back."""
        held = Held(self)
        try:
            yield held
        finally:
            self._give_back(list(held.leases.values()))

    def first(self, limit: int) -> tuple[list[DeadLetter], bool]:
        """At most `limit` letters, oldest first, and whether there are more. None of them is changed."""
        with self.held() as held:
            letters = list(islice(held.pulled(limit + 1), limit + 1))
        # Pub/Sub does not give them in order.
        return sorted(letters[:limit], key=lambda letter: letter.published_at), len(letters) > limit

    def publish(self, letter: DeadLetter) -> str:
        """Publish it again to its topic as it was, and wait for the confirmation.

        Returns:
            Its new message id.

        Raises:
            Refused: Pub/Sub calls this message invalid.
        """
        message = PubsubMessage(
            data=letter.data, attributes=dict(letter.attributes), ordering_key=letter.ordering_key
        )
        with self._one_sentence(publishing=True):
            answer = self._publisher.publish(
                topic=self._source, messages=[message], retry=_RETRY, timeout=_CALL_SECONDS
            )
        return str(answer.message_ids[0])

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Let go of messages for good."""
        with self._one_sentence():
            self._subscriber.acknowledge(
                subscription=self._subscription, ack_ids=list(ack_ids), retry=_RETRY, timeout=_CALL_SECONDS
            )

    def pull(self, most: int) -> list[tuple[str, DeadLetter]]:
        """At most `most` messages, each with its acknowledgement id; none if none comes for a second."""
        request = PullRequest(subscription=self._subscription, max_messages=min(most, _MOST_IN_A_PULL))
        at_once = PullRequest(request, return_immediately=True)
        with self._one_sentence():
            # Its answer tells "reached, and nothing at hand" from "not reached"; an expired wait would not.
            # Deprecated for what it costs Pub/Sub when it is repeated: here people ask, not loops.
            answer = self._subscriber.pull(request=at_once, retry=_RETRY, timeout=_CALL_SECONDS)
            if not answer.received_messages:
                # "At once" may overlook messages, says the documentation; a pull that waits does not.
                with suppress(exceptions.DeadlineExceeded):
                    answer = self._subscriber.pull(request=request, retry=None, timeout=_WAIT_SECONDS)
        return [
            (received.ack_id, DeadLetter.of(received.message, self.topic, self._describe))
            for received in answer.received_messages
        ]

    def _give_back(self, ack_ids: list[str]) -> None:
        # Without it they come back as well, only later: no reason to hide how the block ended.
        with suppress(exceptions.GoogleAPIError, GoogleAuthError):
            for start in range(0, len(ack_ids), _MOST_IN_A_GIVE_BACK):
                self._subscriber.modify_ack_deadline(
                    subscription=self._subscription,
                    ack_ids=ack_ids[start : start + _MOST_IN_A_GIVE_BACK],
                    ack_deadline_seconds=0,
                    retry=None,
                    timeout=_GIVE_BACK_SECONDS,
                )

    @contextmanager
    def _one_sentence(self, *, publishing: bool = False) -> Iterator[None]:
        where, dead = f"project {self._project}", f"{self.topic}-dead"
        try:
            yield
        except exceptions.NotFound as error:
            raise DeadLettersError(
                f"There is no topic {self.topic!r} in {where}: make it and its subscription before a replay."
                if publishing
                else f"There is no subscription '{dead}' in {where}: make the topic {dead}, if it is missing "
                f"too, then `gcloud pubsub subscriptions create {dead} --topic={dead}`."
            ) from error
        except exceptions.Forbidden as error:
            needed = (
                f"publisher on the topic {self.topic}"
                if publishing
                else f"subscriber on the subscription {dead}"
            )
            raise Unreachable(
                f"Your account may not do this ({error.message}): it needs roles/pubsub.{needed}."
            ) from error
        except (GoogleAuthError, exceptions.Unauthenticated) as error:
            raise no_credentials(error) from error
        except exceptions.ClientError as error:
            refusal = f"Pub/Sub refuses it ({error.message})."
            if publishing and isinstance(error, exceptions.InvalidArgument):
                raise Refused(refusal) from error
            raise DeadLettersError(refusal) from error
        except exceptions.GoogleAPIError as error:
            if is_about_credentials(error):
                raise no_credentials(error) from error
            raise Unreachable(
                f"Pub/Sub does not answer ({one_line(error)}): try again, every step can be repeated."
            ) from error


class Held:
    """Messages of one topic that nobody else sees meanwhile; `leases` has the acknowledgement id of each."""

    def __init__(self, queue: DeadLetters) -> None:
        self._queue = queue
        self.leases: dict[str, str] = {}
        self._seen: set[str] = set()

    def pulled(self, most: int, page: int = _MOST_IN_A_PULL) -> Iterator[DeadLetter]:
        """Up to `most` messages, each once; fewer when no others come.

        Args:
            most: how many at most.
            page: how many are held before they are yielded: few, if much time is spent on each.
        """
        while len(self._seen) < most:
            new = []
            for ack_id, letter in self._queue.pull(min(page, most - len(self._seen))):
                # A lease that ended brings its message again, and only the newest acknowledgement id counts.
                self.leases[letter.message_id] = ack_id
                if letter.message_id not in self._seen:
                    self._seen.add(letter.message_id)
                    new.append(letter)
            if not new:
                return
            yield from new

    def replay(self, letter: DeadLetter) -> str:
        """Publish it to its topic again and, once that is confirmed, let go of it; return its new id.

        Dying between the two leaves it here as well as there: handlers bear a message that comes twice.
        """
        message_id = self._queue.publish(letter)
        self.discard([letter])
        return message_id

    def discard(self, letters: Iterable[DeadLetter]) -> None:
        """Let go of them for good."""
        taken = {letter.message_id: self.leases[letter.message_id] for letter in letters}
        self._queue.acknowledge(taken.values())
        for message_id in taken:
            del self.leases[message_id]


def opened(settings: Settings, emulator_host: str | None, role: str | None = None) -> list[DeadLetters]:
    """The dead letters of each topic, or only of the one whose role is "jobs" or "batch-events".

    Raises:
        Unreachable: there are no credentials, or the emulator does not answer.
    """
    if emulator_host and (problem := unanswered("PUBSUB_EMULATOR_HOST", emulator_host)):
        raise Unreachable(problem)
    topics: Mapping[str, tuple[str, Describe]] = {
        "jobs": (settings.jobs_topic, job_meaning),
        "batch-events": (settings.batch_events_topic, notification_meaning),
    }
    return [
        DeadLetters(settings.project, topic, describe)
        for name, (topic, describe) in topics.items()
        if role in (None, name)
    ]
