"""The Jobs API over HTTP: routes, authentication, and one shape for every error (AIP-193)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from flask import Request, Response
from google.api_core import exceptions
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoRoute
from werkzeug.routing import Map, RequestRedirect, Rule

from shared import errors
from shared.api import (
    DEFAULT_PAGE_SIZE,
    MAX_BODY_BYTES,
    MAX_IDEMPOTENCY_KEY,
    MAX_PAGE_SIZE,
    SubmitRequest,
    job_json,
    transition_json,
)
from shared.identity import Identity, TokenVerifier
from shared.jobs import Jobs, TenantGone
from shared.model import JobStatus
from shared.tenants import Tenants

_logger = logging.getLogger(__name__)

_ROUTES = Map(
    [
        Rule("/health", endpoint="health", methods=["GET"]),
        Rule("/v1/jobs", endpoint="submit", methods=["POST"]),
        Rule("/v1/jobs", endpoint="list_jobs", methods=["GET"]),
        Rule("/v1/jobs/<job_id>", endpoint="get_job", methods=["GET"]),
        Rule("/v1/jobs/<job_id>:cancel", endpoint="cancel_job", methods=["POST"]),
        Rule("/v1/jobs/<job_id>/transitions", endpoint="list_transitions", methods=["GET"]),
    ],
    strict_slashes=False,
    merge_slashes=False,
)

# What the database raises when it is overloaded or out of reach.
_PASSING = (
    exceptions.Aborted,
    exceptions.DeadlineExceeded,
    exceptions.ResourceExhausted,
    exceptions.RetryError,
    exceptions.ServiceUnavailable,
)

Answer = tuple[int, Mapping[str, Any]]


class Api:
    """Answers HTTP requests.

    Args:
        jobs: the use cases.
        tenants: who is who.
        verifier: proves who is calling.
    """

    def __init__(self, *, jobs: Jobs, tenants: Tenants, verifier: TokenVerifier) -> None:
        self._jobs = jobs
        self._tenants = tenants
        self._verifier = verifier

    def __call__(self, request: Request) -> Response:
        """Answer one request; never raises."""
        try:
            status, body = self._answer(request)
        except errors.JennahError as error:
            return error_response(error)
        except _PASSING as error:
            _logger.warning("not answered in time: %s", type(error).__name__)
            return error_response(errors.Unavailable("The service is busy; please try again."))
        except Exception:
            _logger.exception("unexpected error")
            return error_response(errors.JennahError("Something went wrong here; it was logged."))
        return _response(status, body)

    def _answer(self, request: Request) -> Answer:
        endpoint, arguments = _route(request)
        if endpoint == "health":
            return 200, {"status": "ok"}
        identity = self._verifier.verify(request.headers.get("Authorization"))
        handler: Callable[..., Answer] = getattr(self, f"_{endpoint}")
        return handler(request, identity, **arguments)

    def _submit(self, request: Request, identity: Identity) -> Answer:
        _query(request, ())
        key = request.headers.get("Idempotency-Key")
        if key is not None and not _is_idempotency_key(key):
            raise errors.InvalidArgument.of_field(
                "Idempotency-Key", f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"
            )
        # Who may not submit learns nothing of what is wrong with the body, and a wrong body makes no tenant.
        self._tenants.resolve(identity)
        submission = SubmitRequest.parse(_body(request))
        tenant = self._tenants.resolve_or_create(identity)
        try:
            job, new = self._jobs.submit(tenant.tenant_id, submission, key)
        except TenantGone:
            # Deleted since it was remembered: look once more, in the database.
            self._tenants.forget(identity)
            tenant = self._tenants.resolve_or_create(identity)
            try:
                job, new = self._jobs.submit(tenant.tenant_id, submission, key)
            except TenantGone:
                raise errors.Unavailable("The tenant is changing; please try again.") from None
        return (201 if new else 200), job_json(job)

    def _list_jobs(self, request: Request, identity: Identity) -> Answer:
        query = _query(request, ("status", "page_size", "page_token"))
        status, page_size = _status(query), _page_size(query)
        jobs, token = self._jobs.page(
            self._tenant_id(identity), status=status, page_size=page_size, page_token=query.get("page_token")
        )
        return 200, {"jobs": [job_json(job) for job in jobs], "next_page_token": token}

    def _get_job(self, request: Request, identity: Identity, job_id: str) -> Answer:
        _query(request, ())
        job, attempts = self._jobs.get(self._tenant_id(identity), job_id)
        return 200, job_json(job, attempts)

    def _list_transitions(self, request: Request, identity: Identity, job_id: str) -> Answer:
        query = _query(request, ("page_size", "page_token"))
        page_size = _page_size(query)
        transitions, token = self._jobs.transitions(
            self._tenant_id(identity), job_id, page_size=page_size, page_token=query.get("page_token")
        )
        shown = [transition_json(transition) for transition in transitions]
        return 200, {"transitions": shown, "next_page_token": token}

    def _cancel_job(self, request: Request, identity: Identity, job_id: str) -> Answer:
        _query(request, ())
        return 200, job_json(self._jobs.cancel(self._tenant_id(identity), job_id))

    def _tenant_id(self, identity: Identity) -> str:
        # Who has no tenant yet has no job: the id of no tenant leads to the answers that this deserves.
        tenant = self._tenants.resolve(identity)
        return tenant.tenant_id if tenant else "00000000-0000-0000-0000-000000000000"


def error_response(error: errors.JennahError) -> Response:
    """The one shape of errors."""
    body = {
        "error": {
            "code": error.http_status,
            "status": error.code,
            "message": error.message,
            "details": list(error.details),
        }
    }
    response = _response(error.http_status, body)
    if error.http_status == errors.Unauthenticated.http_status:
        response.headers["WWW-Authenticate"] = "Bearer"
    for detail in error.details:
        if "allowed" in detail:  # RFC 9110 §15.5.6: a 405 names the methods
            response.headers["Allow"] = ", ".join(detail["allowed"])
    if error.http_status == errors.Unavailable.http_status:
        response.headers["Retry-After"] = "1"
    return response


def _response(status: int, body: Mapping[str, Any]) -> Response:
    text = json.dumps(body, ensure_ascii=False) + "\n"
    response = Response(text, status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _route(request: Request) -> tuple[str, Mapping[str, Any]]:
    try:
        return _ROUTES.bind_to_environ(request.environ).match()
    except MethodNotAllowed as error:
        allowed = sorted(error.valid_methods or ())
        raise errors.MethodNotAllowed(
            f"This path answers {', '.join(allowed)} only.", {"allowed": allowed}
        ) from None
    except (NoRoute, RequestRedirect, HTTPException):
        raise errors.NotFound("There is no such path; the API is described in the documentation.") from None


def _is_idempotency_key(text: str) -> bool:
    # What is not ASCII has no agreed meaning in a header.
    return 1 <= len(text) <= MAX_IDEMPOTENCY_KEY and text.isascii() and text.isprintable()


def _body(request: Request) -> bytes:
    # The framework reads every body to its end, whatever is answered: a limit on reading would spare nothing,
    # and make an error of that.
    body = request.get_data()
    if len(body) > MAX_BODY_BYTES:
        raise errors.PayloadTooLarge(
            f"body: is larger than {MAX_BODY_BYTES} bytes", {"field": "body", "reason": "too large"}
        )
    return body


def _query(request: Request, allowed: tuple[str, ...]) -> Mapping[str, str]:
    for name in request.args:
        if name not in allowed:
            raise errors.InvalidArgument.of_field(name[:100], "is no parameter of this method")
        if len(request.args.getlist(name)) > 1:
            raise errors.InvalidArgument.of_field(name, "is given more than once")
    return request.args.to_dict()


def _status(query: Mapping[str, str]) -> JobStatus | None:
    if "status" not in query:
        return None
    try:
        return JobStatus(query["status"])
    except ValueError:
        raise errors.InvalidArgument.of_field("status", f"must be one of {', '.join(JobStatus)}") from None


def _page_size(query: Mapping[str, str]) -> int:
    text = query.get("page_size", str(DEFAULT_PAGE_SIZE))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE_SIZE):
        raise errors.InvalidArgument.of_field("page_size", f"must be a number from 1 to {MAX_PAGE_SIZE}")
    return int(text)
