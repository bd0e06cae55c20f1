"""Rules about who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.infrastructure import access
from tests.infrastructure.calls import FUNCTIONS
from tests.infrastructure.configuration import Configuration, only, texts
from tests.infrastructure.hcl import references

_PUBLIC = ("allUsers", "allAuthenticatedUsers")
_SUBMISSION = "google_cloud_run_service_iam_member.submission"


def public(configuration: Configuration) -> Iterator[str]:
    """Nothing but submission is public, and no variable makes it so without being asked."""
    for block in configuration.blocks:
        apart = {_SUBMISSION: "for_each", "variable.submission_access": "validation"}.get(block.address)
        said = [text for name, value in block.body.items() if name != apart for text in texts(value)]
        if any(name in text for text in said for name in _PUBLIC):
            yield f"{block.address} is public, or makes something so"


def ingress(configuration: Configuration) -> Iterator[str]:
    """From outside, only submission can be reached."""
    for name, function in configuration.locals["functions"].items():
        wanted = "${var.submission_access.ingress}" if name == "submission" else "ALLOW_INTERNAL_ONLY"
        if function["ingress"] != wanted:
            yield f"local.functions.{name}: ingress must be {wanted}"
    service = only(configuration.resource("google_cloudfunctions2_function.functions"), "service_config")
    if service.get("ingress_settings") != "${each.value.ingress}":
        yield "google_cloudfunctions2_function.functions: ingress_settings must be the function's own"


def bucket(configuration: Configuration) -> Iterator[str]:
    """No bucket can be made public, and access is by IAM alone."""
    for block in configuration.resources("google_storage_bucket"):
        if block.kind == "google_storage_bucket" and (
            block.body.get("public_access_prevention") != "enforced"
            or block.body.get("uniform_bucket_level_access") is not True
        ):
            yield f"{block.address} could be made public"


def bindings(configuration: Configuration) -> Iterator[str]:
    """Every binding is as the table has it and the other way round; none takes away what others granted."""
    for binding in configuration.bindings:
        if not binding.block.kind.endswith("_iam_member"):
            yield f"{binding.block.address} is authoritative: it would take away what others granted"
    yield from access.written(configuration)
    named = {name for need in configuration.tables.needs for name in need.bindings}
    made = {binding.block.address for binding in configuration.bindings}
    yield from (f"{address}: no call is named that needs it" for address in sorted(made - named))
    yield from (
        f"docs/permissions.md relies on {address}, which is not there" for address in sorted(named - made)
    )


def api_calls(configuration: Configuration) -> Iterator[str]:
    """Every call that the code makes is in the table, and whoever makes it has the permissions."""
    code = configuration.code
    needs = [need for need in configuration.tables.needs if need.calls]
    known = {call: need for need in needs for call in need.calls}
    made = code.calls
    yield from (
        f"the code calls {call}, which docs/permissions.md does not have"
        for call in sorted(made - known.keys())
    )
    yield from (
        f"docs/permissions.md has {call}, which the code does not call"
        for call in sorted(known.keys() - made)
    )
    for need in needs:
        callers = {name for name in FUNCTIONS if code.calls_of(name) & set(need.calls)}
        if callers != need.functions:
            yield f"{', '.join(need.calls)}: made by {', '.join(sorted(callers))}"
        for function in sorted(callers):
            granted = {
                permission
                for binding in configuration.bindings
                if binding.block.address in need.bindings and function in binding.functions
                for permission in configuration.permissions(binding.role)
            }
            for permission in sorted(need.permissions - granted):
                yield f"{function} calls {need.calls[0]} without {permission}"
    for need in configuration.tables.needs:
        granted = {
            permission
            for binding in configuration.bindings
            if binding.block.address in need.bindings
            for permission in configuration.permissions(binding.role)
        }
        yield from (
            f"{permission} is granted by none of {', '.join(need.bindings)}"
            for permission in need.permissions - granted
        )


def least(configuration: Configuration) -> Iterator[str]:
    """No binding gives more than what it is there for, as far as its role's permissions are known."""
    for binding in configuration.bindings:
        needed = configuration.tables.needed({binding.block.address})
        for permission in sorted(configuration.permissions(binding.role) - needed - {binding.role}):
            yield f"{binding.block.address}: no call that needs it needs {permission} of {binding.role}"
    roles = {binding.role for binding in configuration.bindings}
    yield from (
        f"docs/permissions.md explains {role}, which nobody has"
        for role in sorted(configuration.tables.roles.keys() - roles)
    )


def waits(configuration: Configuration) -> Iterator[str]:
    """Functions wait for their rights and their builds', and pushes for all that lets them through."""
    for address, accounts_of in {
        "google_cloudfunctions2_function.functions": r"google_service_account\.(functions|build)\b",
        "google_pubsub_subscription.push": r"google_service_account\.push\b|local\.pubsub_agent",
    }.items():
        waited = references(configuration.resource(address).get("depends_on"))
        for binding in configuration.bindings:
            if (
                re.search(accounts_of, binding.member)
                and binding.block.address not in waited
                and address not in references(binding.block.body)  # what waits for it can't be waited for
            ):
                yield f"{address} must wait for {binding.block.address}"


def accounts(configuration: Configuration) -> Iterator[str]:
    """Each function runs as its own account, builds as theirs, and no key of any leaves Google."""
    function = configuration.resource("google_cloudfunctions2_function.functions")
    if (
        only(function, "service_config").get("service_account_email")
        != "${google_service_account.functions[each.key].email}"
    ):
        yield "each function must run as its own account"
    if only(function, "build_config").get("service_account") != "${google_service_account.build.id}":
        yield "functions must be built as the build account, not as the project's default one"
    if configuration.resource("google_service_account.functions").get("for_each") != "${local.functions}":
        yield "there must be one account for each function"
    yield from (
        f"{block.address}: keys leak" for block in configuration.resources("google_service_account_key")
    )
