"""A server that answers as Google's REST APIs would for a deployment that is well, or was changed."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import NamedTemporaryFile
from typing import Any

import httpx

from jennah.operations.doctor import Deployment
from jennah.operations.google_rest import GoogleRest
from shared.config import Settings

PROJECT = "my-project"
AGENT = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
TOPICS = {"jobs": "scheduling", "batch-events": "notification", "ticks": "reconciliation"}
PLACE = f"v1/projects/{PROJECT}"
RUN = f"v2/projects/{PROJECT}/locations/us-central1/services/jennah-"
TICK = f"cloudscheduler/{PLACE}/locations/us-central1/jobs/jennah-tick"

DEPLOYMENT = Deployment(
    Settings(
        project=PROJECT,
        spanner_instance="jennah",
        job_service_account=f"jennah-job@{PROJECT}.iam.gserviceaccount.com",
    ),
    "ticks",
    pubsub_emulator_host=None,
)


def account(name: str) -> str:
    """The email of one of the deployment's accounts."""
    return f"jennah-{name}@{PROJECT}.iam.gserviceaccount.com"


def policy(**members: list[str]) -> dict[str, Any]:
    """A policy: members by role, whose name has __ for a slash and _dot_ for a dot."""
    return {
        "bindings": [
            {"role": role.replace("__", "/").replace("_dot_", "."), "members": names}
            for role, names in members.items()
        ]
    }


def _of(*names: str) -> list[str]:
    return [f"serviceAccount:{account(name)}" for name in names]


def well() -> dict[str, Any]:
    """What each path answers where all is as Terraform makes it."""
    functions = ("submission", *TOPICS.values())
    answers: dict[str, Any] = {
        f"cloudresourcemanager/v3/projects/{PROJECT}": {"name": "projects/123456789012"},
        f"cloudresourcemanager/v3/projects/{PROJECT}:getIamPolicy": policy(
            roles__batch_dot_jobsEditor=_of(*TOPICS.values()),
            roles__batch_dot_agentReporter=_of("job"),
            roles__logging_dot_logWriter=_of("build", "job"),
            **{f"projects__{PROJECT}__roles__jennah_log_reader": _of("submission")},
        ),
        f"iam/{PLACE}/serviceAccounts/{account('push')}:getIamPolicy": policy(
            roles__iam_dot_serviceAccountOpenIdTokenCreator=[AGENT]
        ),
        f"iam/{PLACE}/serviceAccounts/{account('job')}:getIamPolicy": policy(
            roles__iam_dot_serviceAccountUser=_of("scheduling")
        ),
        f"spanner/{PLACE}/instances/jennah/databases/main:getIamPolicy": policy(
            **{f"projects__{PROJECT}__roles__jennah_database_writer": _of(*functions)}
        ),
        f"pubsub/{PLACE}/topics/jobs:getIamPolicy": policy(roles__pubsub_dot_publisher=_of(*functions)),
        f"pubsub/{PLACE}/topics/batch-events:getIamPolicy": policy(roles__pubsub_dot_publisher=_of("job")),
        f"artifactregistry/{PLACE}/locations/us-central1/repositories/jennah-jobs:getIamPolicy": policy(
            roles__artifactregistry_dot_reader=_of("job")
        ),
        TICK: {
            "state": "ENABLED",
            "schedule": "* * * * *",
            "pubsubTarget": {"topicName": f"projects/{PROJECT}/topics/ticks"},
        },
    }
    for function in functions:
        answers[f"run/{RUN}{function}"] = {
            "uri": f"https://jennah-{function}-abc-uc.a.run.app",
            "urls": [f"https://jennah-{function}-123456789012.us-central1.run.app"],
            "template": {"serviceAccount": account(function)},
        }
    for topic, function in TOPICS.items():
        address = answers[f"run/{RUN}{function}"]["uri"]
        answers |= {
            f"pubsub/{PLACE}/subscriptions/{topic}": {
                "pushConfig": {
                    "pushEndpoint": address,
                    "oidcToken": {"serviceAccountEmail": account("push"), "audience": address},
                }
            },
            f"run/{RUN}{function}:getIamPolicy": policy(roles__run_dot_invoker=_of("push")),
            f"pubsub/{PLACE}/topics/{topic}-dead:getIamPolicy": policy(roles__pubsub_dot_publisher=[AGENT]),
            f"pubsub/{PLACE}/subscriptions/{topic}:getIamPolicy": policy(
                roles__pubsub_dot_subscriber=[AGENT]
            ),
        }
    return answers


class Refusal:
    """An error that a path answers."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.content = {"error": {"code": status, "message": message}}


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[GoogleRest]:
    """What asks that server: each API is a folder of it.

    A path that is not there is 404; an answer may depend on the request's headers.
    """

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            found = answers.get(self.path.strip("/"), Refusal(404, f"{self.path} was not found."))
            if callable(found):
                found = found(self.headers)
            refused = isinstance(found, Refusal)
            body = json.dumps(found.content if refused else found).encode()
            self.send_response(found.status if refused else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with httpx.Client() as client:
            yield GoogleRest(client, lambda api: f"{address}/{api}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lint_gcloud(commands: Iterable[str]) -> None:
    """As gcloud itself judges, which runs nothing."""
    with NamedTemporaryFile("w", suffix=".json") as listed:
        json.dump([{"command_string": command} for command in commands], listed)
        listed.flush()
        lint = ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={listed.name}"]
        judged = json.loads(subprocess.check_output(lint, text=True, timeout=60))
    assert judged
    assert [each["error_message"] for each in judged if not each["success"]] == []
