"""Topic `ticks`: look at the jobs whose check time has come."""

import functions_framework
from flask import Request, Response

from shared import (
    cold_start,  # noqa: F401 - first
    messages,
    wiring,
)

wiring.start()


@functions_framework.http
def reconcile(request: Request) -> Response:
    """Do what is owed to every job that is due."""
    return wiring.handle_event(request, lambda event: wiring.reconciliation().reconcile(messages.tick(event)))
