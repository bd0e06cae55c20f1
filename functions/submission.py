"""HTTP: the Jobs API."""

import functions_framework
from flask import Request, Response

from shared import wiring

wiring.start(wiring.verifier)


@functions_framework.http
def submit(request: Request) -> Response:
    """Answer one request of a tenant."""
    return wiring.api()(request)
