"""HTTP: the Jobs API."""

import flask
import functions_framework
from flask import Request, Response
from werkzeug.exceptions import NotFound

from shared import (
    cold_start,  # noqa: F401 - first
    wiring,
)

wiring.start(wiring.verifier)


@functions_framework.http
def submit(request: Request) -> Response:
    """Answer one request of a tenant."""
    return wiring.api()(request)


@functions_framework.errorhandler(NotFound)
def submit_unrouted(_error: NotFound) -> Response:
    """Answer what the framework routes nowhere, such as a path with a line break."""
    return wiring.api()(flask.request)
