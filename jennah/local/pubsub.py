"""The topics and push subscriptions of the local cloud, made in the Pub/Sub emulator.

Through the emulator's REST API, so that the supervisor needs no Google client: one costs 60 MB and 0.3 s.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Final

# Longer than any function may take, so that a delivery is not repeated while the first still works on it.
_ACK_DEADLINE_SECONDS: Final = 90
# The emulator's first answers may wait for all that starts beside it; a tick comes again in a second.
_FIRST_ANSWER_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 5.0
_DELIVERIES_BEFORE_DEAD_LETTER: Final = 5  # the fewest that Pub/Sub allows; DESIGN asks 100 in production


class LocalPubsub:
    """The Pub/Sub emulator at `host` ("127.0.0.1:port"), seen from one project.

    Every method raises OSError when the emulator refuses or does not answer.
    """

    def __init__(self, host: str, project: str) -> None:
        self._host = host
        self._project = f"projects/{project}"

    def create_pushed_topic(self, topic: str, endpoint: str) -> None:
        """Make a topic that is pushed to `endpoint`, and a dead-letter topic with a subscription that keeps.

        They are called `TOPIC` and `TOPIC-dead`, their subscriptions as well. There is no retry policy: the
        emulator delivers again after 1 s. With one (0.8.20, measured), each push looks through every message
        that was ever refused: after 700 messages it takes 0.3 of a core instead of 0.1, and delivers 6 of 10.
        """
        dead = f"{topic}-dead"
        for name in (topic, dead):
            self._send("PUT", f"topics/{name}", {}, timeout=_FIRST_ANSWER_SECONDS)
        self._subscribe(dead, {})
        self._subscribe(
            topic,
            {
                "pushConfig": {"pushEndpoint": endpoint},
                "ackDeadlineSeconds": _ACK_DEADLINE_SECONDS,
                "deadLetterPolicy": {
                    "deadLetterTopic": f"{self._project}/topics/{dead}",
                    "maxDeliveryAttempts": _DELIVERIES_BEFORE_DEAD_LETTER,
                },
            },
        )

    def publish(self, topic: str, attributes: Mapping[str, str]) -> None:
        """Publish one message without data."""
        self._send("POST", f"topics/{topic}:publish", {"messages": [{"attributes": dict(attributes)}]})

    def _subscribe(self, topic: str, settings: Mapping[str, object]) -> None:
        body = {"topic": f"{self._project}/topics/{topic}", **settings}
        self._send("PUT", f"subscriptions/{topic}", body, timeout=_FIRST_ANSWER_SECONDS)

    def _send(
        self, method: str, path: str, body: Mapping[str, object], *, timeout: float = _ANSWER_SECONDS
    ) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=timeout)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, f"/v1/{self._project}/{path}", json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise OSError(
                f"{method} {path} was answered {response.status}: {answer.decode(errors='replace')}"
            )
