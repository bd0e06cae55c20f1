"""What becomes of one delivery of an event: it is used, or refused with an error that says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudevents.http import CloudEvent
from google.api_core.exceptions import GoogleAPIError

from shared.errors import JennahError, MalformedEvent, Unavailable
from shared.messages import decode
from shared.semantics import LogEvent
from shared.telemetry import emit


def receive(
    headers: Mapping[str, str], body: bytes, use: Callable[[CloudEvent], object]
) -> JennahError | None:
    """Decode a pushed event and use it.

    Returns:
        None once its effect is committed: only then it may be acknowledged. Else why not: `MalformedEvent`
        is an event that nothing can repair, any other may succeed when it is delivered again.
    """
    try:
        use(decode(headers, body))
    except JennahError as error:
        return _logged(error)
    except GoogleAPIError as error:
        return _logged(Unavailable(f"a call to Google Cloud failed: {type(error).__name__}: {error}"))
    return None


def _logged(refusal: JennahError) -> JennahError:
    lost = isinstance(refusal, MalformedEvent)
    event = LogEvent.EVENT_REFUSED if lost else LogEvent.EVENT_DEFERRED
    emit(event, "event not acknowledged: %s", refusal.message, http_status=refusal.http_status)
    return refusal
