"""Topic `jobs`: a job wants attention."""

import functions_framework
from flask import Request, Response

from shared import (
    cold_start,  # noqa: F401 - first
    messages,
    wiring,
)

wiring.start(wiring.job_account)


@functions_framework.http
def schedule(request: Request) -> Response:
    """Start the job's current attempt in Batch, or stop what a final job left there."""
    return wiring.handle_event(request, lambda event: wiring.dispatch().schedule(messages.job_message(event)))
