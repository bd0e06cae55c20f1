"""Rules about what keeps a deployment alive: the database's protection, the network, alerts."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.infrastructure.calls import Code
from tests.infrastructure.configuration import Configuration, only, texts

# What an operator must be told of (issue of the deployment), and the policy that does.
_ALERTS = {
    "dead letters": ("thresholds", "dead_letters_"),
    "messages that wait": ("thresholds", "oldest_unacked_"),
    "errors": ("thresholds", "error_ratio_"),
    "platform faults": ("log_events", "platform_faults"),
    "orphans": ("log_events", "orphans"),
    "stuck jobs": ("log_events", "stuck_jobs"),
}


def database(configuration: Configuration) -> Iterator[str]:
    """The database can't be dropped by mistake, keeps what was, and is backed up; tables are migrations'."""
    new = configuration.resource("google_spanner_database.new")
    for argument in ("enable_drop_protection", "deletion_protection"):
        if new.get(argument) != "${var.spanner.drop_protection}":
            yield f"google_spanner_database.new: {argument} must be spanner.drop_protection"
    if "drop_protection = optional(bool, true)" not in str(configuration.variable("spanner").get("type")):
        yield "var.spanner: drop_protection must be true unless it is said otherwise"
    if new.get("version_retention_period") != "${var.spanner.retention_period}":
        yield "google_spanner_database.new must keep old versions"
    if "ddl" in new:
        yield "google_spanner_database.new: tables are made by `jennah migrate`, never by Terraform"
    schedule = configuration.resource("google_spanner_backup_schedule.daily")
    if "full_backup_spec" not in schedule or schedule.get("count") != new.get("count"):
        yield "a new database must have a schedule of full backups"


def network(configuration: Configuration) -> Iterator[str]:
    """Jobs' machines reach Google privately, the rest from reserved addresses, and nothing reaches them."""
    subnetwork = configuration.resource("google_compute_subnetwork.jobs")
    if subnetwork.get("private_ip_google_access") is not True:
        yield "google_compute_subnetwork.jobs: private_ip_google_access is missing, Batch's agent needs it"
    if configuration.resource("google_compute_network.jobs").get("auto_create_subnetworks") is not False:
        yield "google_compute_network.jobs must not have a subnetwork in every region"
    nat = configuration.resource("google_compute_router_nat.jobs")
    if nat.get("nat_ip_allocate_option") != "MANUAL_ONLY" or "google_compute_address.nat" not in str(
        nat.get("nat_ips")
    ):
        yield "google_compute_router_nat.jobs: jobs must leave from the reserved addresses"
    for block in configuration.resources("google_compute_firewall"):
        if "allow" in block.body and block.body.get("direction") != "EGRESS":
            yield f"{block.address} lets others reach jobs' machines"


def alerts(configuration: Configuration) -> Iterator[str]:
    """Somebody is told of each thing that needs a person."""
    for block in configuration.resources("google_monitoring_alert_policy"):
        if block.body.get("notification_channels") != "${var.notification_channels}":
            yield f"{block.address} tells nobody"
        for condition in block.body.get("conditions", []):
            if "condition_matched_log" in condition and not only(
                only(block.body, "alert_strategy"), "notification_rate_limit"
            ):
                yield f"{block.address}: an alert on log lines needs a notification_rate_limit"
    made = f"{configuration.locals['thresholds']} {configuration.locals['log_events']}"
    for what, (policy, key) in _ALERTS.items():
        if key not in made or not configuration.resource(f"google_monitoring_alert_policy.{policy}"):
            yield f"nobody is told of {what}"
    for name in ("submit_latency", "reconciliation_absent"):
        if not configuration.resource(f"google_monitoring_alert_policy.{name}"):
            yield f"nobody is told of {name}"


def log_lines(configuration: Configuration) -> Iterator[str]:
    """Each event that an alert waits for is written by the functions, with its severity and its numbers."""
    known, written = log_events(configuration.code), written_events(configuration.code)
    for name, alert in configuration.locals["log_events"].items():
        where, event = f"local.log_events.{name}", known.get(alert["event"])
        if event is None or event[0] not in written:
            yield f"{where}: no function logs {alert['event']!r}"
            continue
        constant, severity = event
        above = alert.get("above", {})
        # What is bad only above a number is not bad in itself.
        if not above and severity != alert["severity"]:
            yield f"{where}: {alert['event']} is logged as {severity}"
        for field in above:
            if field not in written[constant]:
                yield f"{where}: {alert['event']} has no field {field}"
    policy = "google_monitoring_alert_policy.log_events"
    if configuration.resource(policy).get("severity") != "${each.value.severity}":
        yield f"{policy}: severity must be the event's"


def log_events(code: Code) -> dict[str, tuple[str, str]]:
    """Each event of shared/semantics.py: its constant, and its severity."""
    (events,) = (
        node
        for node in code.modules["shared.semantics"].body
        if isinstance(node, ast.ClassDef) and node.name == "LogEvent"
    )
    found = {}
    for node in events.body:
        if isinstance(node, ast.Assign):
            label, level = ast.unparse(node.value).strip("()").split(", ")
            found[ast.literal_eval(label)] = (ast.unparse(node.targets[0]), level.removeprefix("logging."))
    return found


def written_events(code: Code) -> dict[str, set[str]]:
    """The constants of events that `emit` is called with by name, and the fields that it is given."""
    written: dict[str, set[str]] = {}
    for module in code.modules.values():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "emit" and node.args:
                scope, _, constant = ast.unparse(node.args[0]).partition(".")
                if scope == "LogEvent":
                    fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                    written.setdefault(constant, set()).update(fields)
    return written


def filters(configuration: Configuration) -> Iterator[str]:
    """Filters of metrics are in Monitoring's language; lines are found by what of them does not change."""
    for name in ("thresholds", "charts", "run_metric", "pubsub_metric", "user_metric"):
        if "=~" in str(configuration.locals.get(name)):
            yield f"local.{name}: Monitoring's filters have no =~"
    found = str(configuration.locals["log_event_filters"])
    for part in ("local.function_logs", "jsonPayload.event=", "event.above", "jsonPayload.${field}>"):
        if part not in found:
            yield f"local.log_event_filters: {part} is missing"
    for key in ("message", "textPayload"):
        if key in found:
            yield f"local.log_event_filters: {key} may change"
    for address in ("google_logging_metric.events", "google_monitoring_alert_policy.log_events"):
        if "${local.log_event_filters[each.key]}" not in texts(configuration.resource(address)):
            yield f"{address}: the filter must be the event's"
