"""A deployment on the emulators, for the doctor to look at; its tests import the fixtures by their names."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import (
    UpdateSubscriptionRequest,
)

from jennah.local.batch_server import BatchServer
from jennah.local.issuer import LocalIssuer, issuer_settings
from jennah.local.pubsub import LocalPubsub
from jennah.operations.doctor_topics import FUNCTIONS
from jennah.operations.migrate import migrate


@dataclass
class Scene:
    """A deployment on the emulators, with topics in a project of its own."""

    env: dict[str, str]
    database: Database
    batch: BatchServer
    publisher: PublisherClient
    subscriber: SubscriberClient
    ticks_topic: str

    @property
    def project(self) -> str:
        return self.env["GOOGLE_CLOUD_PROJECT"]

    def update(self, subscription: str, *paths: str, **changed: object) -> None:
        name = f"projects/{self.project}/subscriptions/{subscription}"
        found = self.subscriber.get_subscription(subscription=name)
        for key, value in changed.items():
            setattr(found, key, value)
        request = UpdateSubscriptionRequest(subscription=found, update_mask=FieldMask(paths=paths))
        self.subscriber.update_subscription(request=request)

    def delete(self, kind: str, name: str) -> None:
        path = f"projects/{self.project}/{kind}s/{name}"
        if kind == "topic":
            self.publisher.delete_topic(topic=path)
        else:
            self.subscriber.delete_subscription(subscription=path)


@pytest.fixture(scope="module", name="issuer")
def issuer_fixture() -> Iterator[LocalIssuer]:
    with LocalIssuer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(name="scene")
def scene_fixture(
    *,
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    batch_server: BatchServer,
    issuer: LocalIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    """A deployment that is well."""
    project = "jennah-test"  # the instance's
    for name in list(os.environ):
        if name.startswith(("JENNAH_", "GOOGLE_APPLICATION")):
            monkeypatch.delenv(name)
    name = uuid.uuid4().hex[:12]
    database = spanner_instance.database(f"doctor-{name}")
    database.create().result(30)
    migrate(database)
    prefix = f"t{name}"
    local = LocalPubsub(pubsub_host, project)
    for role in FUNCTIONS:
        local.create_pushed_topic(f"{prefix}-{role}", "http://127.0.0.1:1/")
    env = {
        "GOOGLE_CLOUD_PROJECT": project,
        "SPANNER_INSTANCE": spanner_instance.instance_id,
        "SPANNER_DATABASE": database.database_id,
        "SPANNER_EMULATOR_HOST": spanner_host,
        "PUBSUB_EMULATOR_HOST": pubsub_host,
        "BATCH_EMULATOR_HOST": batch_server.host,
        "JENNAH_JOBS_TOPIC": f"{prefix}-jobs",
        "JENNAH_BATCH_EVENTS_TOPIC": f"{prefix}-batch-events",
        "JENNAH_OIDC_ISSUERS": issuer_settings(issuer.url),
        "JENNAH_ADMIT": '{"domains": ["example.com"]}',
    }
    made = Scene(env, database, batch_server, PublisherClient(), SubscriberClient(), f"{prefix}-ticks")
    yield made
    batch_server.faults.clear()
    database.drop()


def jobs(scene: Scene) -> str:
    return scene.env["JENNAH_JOBS_TOPIC"]
