"""What schemathesis asks besides its own checks; it loads this file by its name."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance


@schemathesis.check
def well_formed_is_accepted(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> bool | None:
    """What the document allows is accepted: but a page token is one of ours, which no schema can say."""
    if response.status_code == 400:
        details = response.json()["error"]["details"]
        if {detail["field"] for detail in details} == {"page_token"}:
            return None
    return positive_data_acceptance(ctx, response, case)
