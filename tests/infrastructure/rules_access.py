"""Rules about who may do what."""

from __future__ import annotations

from collections.abc import Iterator

from tests.infrastructure.calls import FUNCTIONS
from tests.infrastructure.configuration import Configuration, only, texts
from tests.infrastructure.reviewed import CLIENTS, ON_PROJECT

_PUBLIC = ("allUsers", "allAuthenticatedUsers")
_SUBMISSION = "google_cloud_run_service_iam_member.submission"


def public(configuration: Configuration) -> Iterator[str]:
    """Nothing but submission is public."""
    for block in configuration.resources():
        if block.address != _SUBMISSION and any(
            name in text for text in texts(block.body) for name in _PUBLIC
        ):
            yield f"{block.address} is public"
    for name, value in configuration.locals.items():
        if any(public_name in text for text in texts(value) for public_name in _PUBLIC):
            yield f"local.{name} names the public"
    if (
        configuration.resource(_SUBMISSION).get("service")
        != '${google_cloudfunctions2_function.functions["submission"].name}'
    ):
        yield f"{_SUBMISSION} must be about submission alone"
    if (
        configuration.resource("google_cloud_run_service_iam_member.push").get("member")
        != "${google_service_account.push.member}"
    ):
        yield "only the push account calls functions that take messages"


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
    """Every binding is in the table and the other way round; none takes away what others granted."""
    listed = dict(configuration.tables.bindings)
    for binding in configuration.bindings:
        address = binding.block.address
        if not binding.block.kind.endswith("_iam_member"):
            yield f"{address} is authoritative: it would take away what others granted"
        role = listed.pop(address, None)
        if role is None:
            yield f"{address} is not in docs/permissions.md"
        elif role != binding.role:
            yield f"{address} grants {binding.role}, docs/permissions.md says {role}"
    yield from (f"docs/permissions.md lists {address}, which is not there" for address in listed)
    named = {name for need in configuration.tables.needs for name in need.bindings}
    made = {binding.block.address for binding in configuration.bindings}
    yield from (f"{address}: no call is named that needs it" for address in sorted(made - named))
    yield from (
        f"docs/permissions.md relies on {address}, which is not there" for address in sorted(named - made)
    )


def api_calls(configuration: Configuration) -> Iterator[str]:
    """Every call that the code makes is in the table, and whoever makes it has the permissions."""
    code = configuration.code
    yield from (
        f"{name} is a client of Google's that nobody has reviewed" for name in sorted(code.clients - CLIENTS)
    )
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
    """Nobody has more than calls need: no basic roles, none on the project that has a narrower place."""
    needed = {permission for need in configuration.tables.needs for permission in need.permissions}
    for custom in configuration.resources("google_project_iam_custom_role"):
        for permission in custom.body["permissions"]:
            if permission not in needed:
                yield f"{custom.address}: no call needs {permission}"
    for role, permissions in configuration.tables.roles.items():
        if role not in {binding.role for binding in configuration.bindings}:
            yield f"docs/permissions.md explains {role}, which nobody has"
        yield from (
            f"docs/permissions.md: no call needs {one} of {role}" for one in sorted(permissions - needed)
        )
    for binding in configuration.bindings:
        address = binding.block.address
        if binding.role in ("roles/owner", "roles/editor", "roles/viewer") or "dmin" in binding.role:
            yield f"{address}: {binding.role} is far too much"
        if binding.block.kind.startswith("google_project_iam_member") and binding.role not in ON_PROJECT:
            yield f"{address} grants {binding.role} on the whole project"
        if binding.role == "roles/storage.objectViewer" and "gcf-v2-sources-" not in str(
            only(binding.block.body, "condition").get("expression")
        ):
            yield f"{address} reads every bucket of the project"


def batch(configuration: Configuration) -> Iterator[str]:
    """Submission never has a right in Batch, and only scheduling acts as a job's account."""
    for binding in configuration.bindings:
        address = binding.block.address
        if "batch" in binding.role.lower() and "submission" in binding.functions:
            yield f"{address}: submission never calls Batch"
        acts = binding.role in ("roles/iam.serviceAccountUser", "roles/iam.serviceAccountTokenCreator")
        if acts and (
            binding.functions != {"scheduling"}
            or binding.block.kind != "google_service_account_iam_member"
            or binding.block.body.get("for_each") != "${local.job_accounts}"
            or not str(binding.block.body.get("service_account_id")).endswith("/${each.value}")
        ):
            yield f"{address}: only scheduling acts as another account, and only as a job's"


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
