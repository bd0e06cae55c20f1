"""Topic `batch-events`: Batch says that a job entered a state."""

import functions_framework
from cloudevents.http import CloudEvent
from flask import Request, Response

from shared import (
    cold_start,  # noqa: F401 - first
    messages,
    wiring,
)

wiring.start()


@functions_framework.http
def notify(request: Request) -> Response:
    """Bring the job to where Batch's own record says that it is."""
    return wiring.handle_event(request, _notify)


def _notify(event: CloudEvent) -> None:
    notification = messages.batch_notification(event)
    if notification is not None:
        wiring.dispatch().notify(notification)
