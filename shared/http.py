"""The Jobs API over HTTP: routing, authentication, and one shape for every error (AIP-193)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Request, Response
from google.api_core import exceptions
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.exceptions import NotFound as NoRoute
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule

from shared import errors, tracing
from shared.api.openapi import document
from shared.api.operations import OPERATIONS, Operation
from shared.api.queries import idempotency_key
from shared.api.shapes import EmptyRequest, Shape, parse, parse_query
from shared.bodies import Body, receive
from shared.handlers import Call, Handled, Handlers
from shared.identity import TokenVerifier
from shared.semantics import OTHER_METHOD, Attribute, LogEvent
from shared.streams import Client, Stream
from shared.telemetry import emit
from shared.tenants import Tenants
from shared.tracing import Kind, Span

_TAG_DIGITS = 16
_CONDITION = ("REQUEST_METHOD", "HTTP_IF_NONE_MATCH")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_UNKNOWN_ROUTE = "(no such path)"

_OPERATIONS: Mapping[str, Operation] = {operation.id: operation for operation in OPERATIONS}
_VERBS = "|".join(operation.path.partition("}:")[2] for operation in OPERATIONS if "}:" in operation.path)


class _WholeId(BaseConverter):
    """An id with nothing behind it: what ends in a verb is another path, with methods of its own."""

    regex = rf"(?![^/]*:(?:{_VERBS})\Z)[^/]+"


def _rule(path: str) -> str:
    if path.endswith("{job_id}"):
        return path.replace("{job_id}", "<whole:job_id>")
    return path.replace("{", "<").replace("}", ">")


_ROUTES = Map(
    [
        Rule(_rule(operation.path), endpoint=operation.id, methods=[operation.method])
        for operation in OPERATIONS
    ],
    converters={"whole": _WholeId},
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


@dataclass(slots=True)
class _Seen:
    """What became known of a request while it was answered: nothing that its sender wrote.

    Attributes:
        route: its path, with names for ids.
        tenant: who sent it.
    """

    route: str | None = None
    tenant: str | None = None

    def tell(self, request: Request, response: Response, span: Span, *, seconds: float) -> None:
        """Write the line of the request, and describe its span."""
        method = request.method if request.method in _METHODS else OTHER_METHOD
        emit(
            LogEvent.HTTP_REQUEST,
            "%s %s: %d",
            method,
            self.route or _UNKNOWN_ROUTE,
            response.status_code,
            tenant=self.tenant,
            httpRequest={
                "requestMethod": method,
                "requestUrl": self.route or _UNKNOWN_ROUTE,
                "status": response.status_code,
                "latency": f"{seconds:.6f}s",
                "requestSize": str(request.content_length or 0),
            },
        )
        span.rename(f"{method} {self.route}" if self.route else method)
        if tracing.on():
            span.set(
                {
                    Attribute.HTTP_REQUEST_METHOD: method,
                    Attribute.HTTP_RESPONSE_STATUS_CODE: response.status_code,
                    **({Attribute.HTTP_ROUTE: self.route} if self.route else {}),
                    **({Attribute.TENANT_ID: self.tenant} if self.tenant else {}),
                    **(
                        {Attribute.ERROR_TYPE: str(response.status_code)}
                        if response.status_code >= 500
                        else {}
                    ),
                }
            )


class Api:
    """Answers HTTP requests.

    Args:
        handlers: what each method does.
        tenants: who is who.
        verifier: proves who is calling.
        body_seconds: how long a request's body may take to come.
    """

    def __init__(
        self, *, handlers: Handlers, tenants: Tenants, verifier: TokenVerifier, body_seconds: float
    ) -> None:
        self._handlers = handlers
        self._tenants = tenants
        self._verifier = verifier
        self._body_seconds = body_seconds

    def __call__(self, request: Request) -> Response:
        """Answer one request; never raises."""
        began = time.monotonic()
        with tracing.request(request.headers.get) as served:
            sent_by = [served.trace] if served.trace else []
            # Whoever calls may not choose the trace, nor that it is kept: theirs is linked to.
            with tracing.span("HTTP", Kind.SERVER, root=True, links=sent_by) as span:
                seen = _Seen()
                response = self._answered(request, seen)
                seen.tell(request, response, span, seconds=time.monotonic() - began)
        return response

    def _answered(self, request: Request, seen: _Seen) -> Response:
        try:
            # Before its sender is known: what is left of a body the framework would read as a whole.
            return self._answer(request, seen, receive(request, seconds=self._body_seconds))
        except errors.JennahError as error:
            return error_response(error)
        except _PASSING as error:
            emit(LogEvent.HTTP_BUSY, "not answered in time: %s", type(error).__name__)
            return error_response(errors.Unavailable("The service is busy; please try again."))
        except Exception:  # noqa: BLE001 - it is logged
            emit(LogEvent.HTTP_UNEXPECTED_ERROR, "unexpected error", error=True)
            return error_response(errors.JennahError("Something went wrong here; it was logged."))

    def _answer(self, request: Request, seen: _Seen, body: Body) -> Response:
        operation, arguments = _route(request)
        seen.route = operation.path
        match operation.id:
            case "health":
                return _response(200, {"status": "ok"})
            case "get_openapi":
                return Response(_openapi(), mimetype="application/json")
        identity = self._verifier.verify(request.headers.get("Authorization"))
        # Who is not admitted learns nothing of what is wrong with a request, and a wrong one makes no tenant.
        tenant = self._tenants.resolve(identity)
        seen.tenant = tenant.tenant_id if tenant else None
        call = Call(
            identity=identity,
            tenant=tenant,
            query=parse_query(operation.query, _arguments(request)),
            idempotency_key=idempotency_key(request.headers.get("Idempotency-Key"))
            if operation.keyed
            else None,
            last_event_id=request.headers.get("Last-Event-ID"),
            body=_parsed(operation.body, body) if operation.body else None,
            **arguments,
        )
        handler: Callable[[Call], Handled] = getattr(self._handlers, operation.id)
        status, answer = handler(call)
        if answer is None:
            return _empty(status)
        if isinstance(answer, Stream):
            return _streamed(answer, request)
        shown = answer.shown()
        response = _response(status, shown)
        if operation.tagged:
            digest = hashlib.sha256(response.get_data()).hexdigest()
            response.set_etag(f"{shown['version']}-{digest[:_TAG_DIGITS]}")
            # Only If-None-Match is promised: a read needs no If-Match, and its 412 would have another shape.
            response.make_conditional({name: request.environ.get(name) for name in _CONDITION})
        return response


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
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _response(status: int, body: Mapping[str, Any]) -> Response:
    text = json.dumps(body, ensure_ascii=False) + "\n"
    response = Response(text, status=status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def _empty(status: int) -> Response:
    response = Response(status=status)
    response.headers["Cache-Control"] = "no-store"
    del response.headers["Content-Type"]
    return response


def _streamed(stream: Stream, request: Request) -> Response:
    # gunicorn shows the connection: what is known of it frees the thread as soon as nobody reads any more.
    body = stream.to(Client(request.environ.get("gunicorn.socket")))
    response = Response(body, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # proxies that know it pass on what comes, as it comes
    return response


@cache
def _openapi() -> str:
    return json.dumps(document(), indent=2) + "\n"


def _route(request: Request) -> tuple[Operation, Mapping[str, str]]:
    try:
        endpoint, arguments = _ROUTES.bind_to_environ(request.environ).match()
    except MethodNotAllowed as error:
        allowed = sorted(error.valid_methods or ())
        raise errors.MethodNotAllowed(
            f"This path answers {', '.join(allowed)} only.", {"allowed": allowed}
        ) from None
    except (NoRoute, RequestRedirect, HTTPException):
        raise errors.NotFound("There is no such path; the API is described at /openapi.json.") from None
    return _OPERATIONS[endpoint], arguments


def _parsed(kind: type[Shape], body: Body) -> Shape | None:
    content = body.whole()
    return None if kind is EmptyRequest and not content else parse(kind, content)


def _arguments(request: Request) -> Mapping[str, str]:
    for name in request.args:
        if len(request.args.getlist(name)) > 1:
            raise errors.InvalidArgument.of_field(name[:100], "is given more than once")
    return request.args.to_dict()
