"""`jennah dead-letters` as operators run it, on the real Pub/Sub emulator."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from jennah.local.pubsub import LocalPubsub
from jennah.operations.dead_letters import DeadLetters, opened
from shared.batch_ids import batch_id
from shared.config import Settings
from shared.messages import JobMessage
from shared.model import JobKey
from tests.command import run_command

JENNAH = Path(sys.executable).with_name("jennah")
pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")

KEY = JobKey(str(uuid.UUID(int=1)), str(uuid.UUID(int=2)))
MESSAGE = JobMessage(KEY, 3).encode()
NO_OTHERS = "No dead letters; what another command holds shows again"
Done = subprocess.CompletedProcess[str]

# Dies where it is told to, as by a power cut: the lease stays, and nothing is given back.
KILLED_AT = """
import os, signal, sys
from google.pubsub_v1 import SubscriberClient
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
setattr(SubscriberClient, sys.argv.pop(1), die)
from jennah.cli import main
main()
"""


@dataclass(frozen=True)
class Cloud:
    """The topics of one project, whose functions are away."""

    project: str
    host: str
    publisher: PublisherClient
    subscriber: SubscriberClient

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JENNAH_")}
        return kept | {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "SPANNER_INSTANCE": "jennah-test",
            "PUBSUB_EMULATOR_HOST": self.host,
        }

    def run(self, *arguments: str, **changes: str) -> Done:
        return run_command("dead-letters", *arguments, env=self.env | changes)

    def done(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def left(self) -> list[str]:
        """The ids of all dead letters, in this process: a new one would show nothing more."""
        return [letter.message_id for queue in self.queues() for letter in queue.first(100)[0]]

    def publish(self, topic: str, data: bytes = b"", key: str = "", /, **attributes: str) -> str:
        message = PubsubMessage(data=data, attributes=attributes, ordering_key=key)
        path = self.publisher.topic_path(self.project, topic)
        return self.publisher.publish(topic=path, messages=[message]).message_ids[0]

    def watch(self, topic: str) -> Callable[[int], list[PubsubMessage]]:
        """Subscribe to a topic; the result takes the next so many messages."""
        name = self.subscriber.subscription_path(self.project, f"watch-{uuid.uuid4().hex}")
        self.subscriber.create_subscription(name=name, topic=self.publisher.topic_path(self.project, topic))

        def take(count: int) -> list[PubsubMessage]:
            taken: list[PubsubMessage] = []
            deadline = time.monotonic() + 60
            while len(taken) < count:
                assert time.monotonic() < deadline
                answer = self.subscriber.pull(subscription=name, max_messages=count - len(taken))
                if ids := [received.ack_id for received in answer.received_messages]:
                    self.subscriber.acknowledge(subscription=name, ack_ids=ids)
                taken += [received.message for received in answer.received_messages]
            return taken

        return take

    def queues(self) -> list[DeadLetters]:
        return opened(Settings(project=self.project, spanner_instance="jennah-test"), self.host)


def make_cloud(host: str, endpoint: str | None = None) -> Cloud:
    cloud = Cloud(f"dead-{uuid.uuid4().hex[:8]}", host, PublisherClient(), SubscriberClient())
    for topic in ("jobs", "batch-events"):
        LocalPubsub(host, cloud.project).create_pushed_topic(topic, endpoint or "http://127.0.0.1:1/")
        if endpoint is None:  # else what is replayed would come back after five deliveries to nobody
            path = cloud.subscriber.subscription_path(cloud.project, topic)
            cloud.subscriber.delete_subscription(subscription=path)
    return cloud


@pytest.fixture
def cloud(pubsub_host: str) -> Cloud:
    return make_cloud(pubsub_host)


class Refusing(BaseHTTPRequestHandler):
    """A function that can't decode what it is given."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Slow:
    """What takes seconds on the emulator: begun before the first test, looked at in the last ones."""

    refused: Cloud
    killed: Cloud
    killed_take: Callable[[int], list[PubsubMessage]]
    killed_listing: Cloud


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", autouse=True)
def slow(pubsub_host: str, refusing: str) -> Slow:
    refused = make_cloud(pubsub_host, refusing)
    refused.publish("jobs", b"\xff\x00poison", topic="mine", data="too")
    killed, killed_listing = (make_cloud(pubsub_host) for _ in range(2))
    take = killed.watch("jobs")
    for cloud, method, arguments in (
        (killed, "acknowledge", ("replay", "--all")),
        (killed_listing, "modify_ack_deadline", ("list",)),
    ):
        cloud.publish("jobs-dead", MESSAGE)
        command = [sys.executable, "-c", KILLED_AT, method, "dead-letters", *arguments]
        done = subprocess.run(command, env=cloud.env, capture_output=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    return Slow(refused, killed, take, killed_listing)


def test_nothing_is_listed_soon_and_said_so(cloud: Cloud) -> None:
    begun = time.monotonic()
    assert cloud.run("list", GOOGLE_CLOUD_PROJECT="other").returncode == 1
    refused_at_once = time.monotonic() - begun
    begun = time.monotonic()
    done = cloud.run("list")
    # It waits for a second; the rest is the machine's.
    assert time.monotonic() - begun < 4 + 3 * refused_at_once
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(NO_OTHERS)
    assert done.stderr.count("\n") == 1
    assert cloud.left() == []


def test_the_list_says_what_each_message_means_and_leaves_it_there(cloud: Cloud) -> None:
    broken = cloud.publish("jobs-dead", b"{", CloudPubSubDeadLetterSourceDeliveryCount="100")
    job = cloud.publish("jobs-dead", MESSAGE)
    event = {"JobName": f"projects/1/locations/l/jobs/{batch_id(KEY, 3)}", "JobUID": "u"}
    notified = cloud.publish("batch-events-dead", NewJobState="SUCCEEDED", **event)
    task = cloud.publish("batch-events-dead", Type="TASK_STATE_CHANGED")
    forged = cloud.publish("batch-events-dead", NewJobState="\x1b[2J", **event)
    told = [line.split(maxsplit=4) for line in cloud.done("list").splitlines()]
    assert told[0] == ["TOPIC", "MESSAGE", "PUBLISHED", "DELIVERIES", "MEANING"]
    assert [(line[0], line[1], line[3], line[4]) for line in told[1:]] == [
        ("jobs", broken, "100", "can't be decoded: message.data is not JSON"),
        ("jobs", job, "-", f"job {KEY.job_id} attempt 3"),
        ("batch-events", notified, "-", f"SUCCEEDED of job {KEY.job_id} attempt 3"),
        ("batch-events", task, "-", "a notification about a task"),
        ("batch-events", forged, "-", rf"\x1b[2J of job {KEY.job_id} attempt 3"),
    ]
    letters = json.loads(cloud.done("list", "--json"))
    assert [letter["message_id"] for letter in letters] == [broken, job, notified, task, forged]
    assert [line.split()[1] for line in cloud.done("list", "--topic", "batch-events").splitlines()[1:]] == [
        notified,
        task,
        forged,
    ]


def test_more_than_the_emulator_gives_at_once_are_listed_and_replayed_each_once(cloud: Cloud) -> None:
    take = cloud.watch("jobs")
    ids = [cloud.publish("jobs-dead", MESSAGE, number=str(number)) for number in range(250)]
    few = cloud.run("list", "--limit", "249")
    assert (few.returncode, len(few.stdout.splitlines())) == (0, 250)
    assert few.stderr == "There are more than 249 of jobs: raise --limit.\n"
    exact = cloud.run("list", "--limit", "250")
    assert (len(exact.stdout.splitlines()), exact.stderr) == (251, "")
    some = cloud.run("replay", "--all", "--limit", "120")
    assert (some.returncode, len(some.stdout.splitlines())) == (0, 120)
    assert some.stderr == "Stopped after 120 of jobs: run it again, in case there are more.\n"
    rest = cloud.done("replay", "--all")
    assert sorted(line.split()[0] for line in (some.stdout + rest).splitlines()) == sorted(ids)
    assert {message.attributes["number"] for message in take(250)} == set(map(str, range(250)))
    assert cloud.left() == []


@pytest.mark.parametrize(
    ("data", "shown", "text"),
    [
        (b'{"a": "\\u001b"}', ["{", '  "a": "\\u001b"', "}"], '{"a": "\\u001b"}'),
        (b"\x1b[2Jplain", ["\\x1b[2Jplain"], "\x1b[2Jplain"),
        (b"\xff\x00", ["b'\\xff\\x00'"], None),
        (b"", ["(no data)"], ""),
        (b"[" * 100_000, ["[" * 100_000], "[" * 100_000),
    ],
    ids=["json", "text", "binary", "none", "deep"],
)
def test_everything_of_one_is_shown(cloud: Cloud, data: bytes, shown: list[str], text: str | None) -> None:
    cloud.publish("jobs-dead", b"another")
    added = {"CloudPubSubDeadLetterSourceSubscription": "jobs"}
    message_id = cloud.publish("jobs-dead", data, "key", topic="t\x1b", **added)
    facts, _, content = cloud.done("show", message_id).partition("\n\n")
    assert content.splitlines() == shown
    assert [line.split(maxsplit=1) for line in facts.splitlines() if not line.startswith("published")] == [
        ["topic", "jobs"],
        ["message", message_id],
        ["deliveries", "-"],
        ["meaning", "can't be decoded: message.data is not JSON"]
        if not data.startswith(b"{")
        else ["meaning", "can't be decoded: format: expected 1"],
        ["ordering", "key  key"],
        ["attribute", "topic=t\\x1b"],
        ["by", "Pub/Sub    CloudPubSubDeadLetterSourceSubscription=jobs"],
    ]
    everything = json.loads(cloud.done("show", message_id, "--json"))
    assert everything["attributes"] == {"topic": "t\x1b"}
    assert everything["forwarding"] == added
    assert everything["data"] == text
    assert base64.b64decode(everything["data_base64"]) == data
    assert len(cloud.left()) == 2


def test_what_is_replayed_or_discarded_is_no_dead_letter_any_more(cloud: Cloud) -> None:
    take = cloud.watch("jobs")
    first, second, third = (cloud.publish("jobs-dead", data) for data in (b"1", b"2", b"3"))
    event = cloud.publish("batch-events-dead", JobName="x")
    (line,) = cloud.done("replay", second, second).splitlines()
    (message,) = take(1)
    assert line == f"{second} replayed to jobs as {message.message_id}"
    assert message.data == b"2"
    assert cloud.done("discard", first, "--yes") == f"{first} discarded\n"
    assert cloud.left() == [third, event]
    assert cloud.done("discard", "--all", "--topic", "jobs", "--yes") == f"{third} discarded\n"
    assert cloud.left() == [event]
    assert cloud.done("replay", "--all").startswith(f"{event} replayed to batch-events as ")
    nothing = cloud.run("replay", "--all")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr.startswith(NO_OTHERS)


@settings(max_examples=30, deadline=None)
@given(
    messages=st.lists(
        st.tuples(
            st.binary(min_size=1),
            st.dictionaries(
                st.sampled_from(["data", "topic", "self", "retry", "JobName", "ordering_key"])
                | st.text(min_size=1, max_size=20).filter(lambda name: not name.startswith("CloudPubSub")),
                st.text(max_size=20),
                max_size=3,
            ),
            st.text(max_size=5),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_replay_restores_data_attributes_and_ordering_key(
    pubsub_host: str, messages: list[tuple[bytes, dict[str, str], str]]
) -> None:
    cloud = make_cloud(pubsub_host)
    take = cloud.watch("jobs")
    for data, attributes, key in messages:
        cloud.publish("jobs-dead", data, key, **attributes, CloudPubSubDeadLetterSourceSubscription="jobs")
    with cloud.queues()[0].held() as held:
        for letter in held.pulled(9):
            held.replay(letter)
    replayed = [(each.data, dict(each.attributes), each.ordering_key) for each in take(len(messages))]
    for message in messages:
        replayed.remove(message)
    assert replayed == []
    assert cloud.queues()[0].first(9) == ([], False)


def test_one_that_its_topic_does_not_take_is_kept_and_hinders_no_other(cloud: Cloud) -> None:
    empty = cloud.publish("jobs-dead", CloudPubSubDeadLetterSourceDeliveryCount="5")
    full = cloud.publish("jobs-dead", MESSAGE)
    done = cloud.run("replay", "--all")
    assert done.returncode == 1
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines[empty].startswith("not replayed: Pub/Sub refuses it")
    assert lines[full].startswith("replayed to jobs as ")
    assert done.stderr == "jennah: 1 could not be replayed and are kept: see each with 'show'.\n"
    assert cloud.left() == [empty]


def test_an_unknown_id_is_named_and_the_known_one_is_done(cloud: Cloud) -> None:
    known = cloud.publish("batch-events-dead", b"x")
    assert refused(cloud.run("show", "9999999"), 1).startswith("jennah: no dead letter 9999999: ")
    done = cloud.run("discard", "--yes", "9999999", known)
    assert (done.returncode, done.stdout) == (1, f"{known} discarded\n")
    assert "no dead letter 9999999: " in done.stderr


def test_nothing_is_discarded_without_a_yes(cloud: Cloud) -> None:
    message_id = cloud.publish("jobs-dead", b"x")
    assert "say --yes" in refused(cloud.run("discard", message_id), 2)
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        assert cloud.left() == [message_id]
        mine, theirs = pty.openpty()
        os.write(mine, answer)
        command = [str(JENNAH), "dead-letters", "discard", "--all"]
        done = subprocess.run(
            command, env=cloud.env, stdin=theirs, capture_output=True, text=True, check=False
        )
        os.close(mine)
        os.close(theirs)
        assert done.returncode == code, done.stderr
        assert "Discard all dead letters" in done.stderr
    assert cloud.left() == []


@pytest.mark.parametrize("arguments", [("replay",), ("replay", "--all", "1"), ("discard",)])
def test_ids_or_all_must_be_chosen(cloud: Cloud, arguments: tuple[str, ...]) -> None:
    assert "give ids or --all" in refused(cloud.run(*arguments), 2)


def test_what_somebody_else_holds_is_hidden_and_comes_back(cloud: Cloud) -> None:
    message_id = cloud.publish("jobs-dead", MESSAGE)
    with cloud.queues()[0].held() as held:
        assert [letter.message_id for letter in held.pulled(10)] == [message_id]
        done = cloud.run("list")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith(NO_OTHERS)
    # Held anew: a lease of 10 s may be too short for two commands on a busy machine.
    with cloud.queues()[0].held() as held:
        assert [letter.message_id for letter in held.pulled(10)] == [message_id]
        assert "what another command holds shows again" in refused(cloud.run("show", message_id), 1)
    assert cloud.left() == [message_id]


def test_an_interrupted_reader_gives_everything_back(cloud: Cloud) -> None:
    ids = {cloud.publish("jobs-dead", MESSAGE) for _ in range(3)}
    with suppress(KeyboardInterrupt), cloud.queues()[0].held() as held:
        assert len(list(islice(held.pulled(3), 1))) == 1
        raise KeyboardInterrupt
    letters, more = cloud.queues()[0].first(10)
    assert ({letter.message_id for letter in letters}, more) == (ids, False)


def refused(done: Done, code: int) -> str:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("jennah: ")
    assert done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}, 3, "Nothing answers at PUBSUB_EMULATOR_HOST=127.0.0.1:1"),
        ({"PUBSUB_EMULATOR_HOST": "nowhere"}, 2, "PUBSUB_EMULATOR_HOST must be host:port"),
        ({"GOOGLE_CLOUD_PROJECT": ""}, 2, "GOOGLE_CLOUD_PROJECT is not set"),
        ({"GOOGLE_CLOUD_PROJECT": "other"}, 1, "gcloud pubsub subscriptions create jobs-dead"),
        (
            {"PUBSUB_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent.json"},
            3,
            "Google credentials are missing",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(
    cloud: Cloud, changes: dict[str, str], code: int, sentence: str
) -> None:
    assert sentence in refused(cloud.run("list", **changes), code)


def test_a_missing_topic_keeps_its_dead_letters(cloud: Cloud) -> None:
    message_id = cloud.publish("jobs-dead", MESSAGE)
    cloud.publisher.delete_topic(topic=cloud.publisher.topic_path(cloud.project, "jobs"))
    assert "There is no topic 'jobs'" in refused(cloud.run("replay", "--all"), 1)
    assert cloud.left() == [message_id]


def shown_again(cloud: Cloud) -> list[str]:
    """The ids, once leases of the dead have ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if left := cloud.left():  # asks the emulator, which takes its time
            return left
    return []


def test_dying_between_publishing_and_acknowledging_leaves_it_listed(slow: Slow) -> None:
    assert [message.data for message in slow.killed_take(1)] == [MESSAGE]
    (message_id,) = shown_again(slow.killed)
    slow.killed.done("replay", message_id)
    assert [message.data for message in slow.killed_take(1)] == [MESSAGE]


def test_a_list_that_is_killed_loses_nothing(slow: Slow) -> None:
    assert len(shown_again(slow.killed_listing)) == 1


def test_what_a_function_refuses_ends_here_and_goes_back_as_it_was(slow: Slow) -> None:
    (message_id,) = shown_again(slow.refused)
    everything = json.loads(slow.refused.done("show", message_id, "--json"))
    assert (everything["topic"], everything["deliveries"]) == ("jobs", 5)
    assert everything["forwarding"]["CloudPubSubDeadLetterSourceSubscription"] == "jobs"
    take = slow.refused.watch("jobs")
    slow.refused.done("replay", "--all")
    (message,) = take(1)
    assert (message.data, dict(message.attributes)) == (b"\xff\x00poison", {"topic": "mine", "data": "too"})
