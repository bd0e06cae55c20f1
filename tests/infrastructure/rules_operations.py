"""Rules about what keeps a deployment alive: the database's protection, the network, what alerts wait for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.infrastructure.calls import Code
from tests.infrastructure.configuration import Configuration


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
    """Jobs' machines reach Google privately, and nothing reaches them."""
    subnetwork = configuration.resource("google_compute_subnetwork.jobs")
    if subnetwork.get("private_ip_google_access") is not True:
        yield "google_compute_subnetwork.jobs: private_ip_google_access is missing, Batch's agent needs it"
    if configuration.resource("google_compute_network.jobs").get("auto_create_subnetworks") is not False:
        yield "google_compute_network.jobs must not have a subnetwork in every region"
    for block in configuration.resources("google_compute_firewall"):
        if "allow" in block.body and block.body.get("direction") != "EGRESS":
            yield f"{block.address} lets others reach jobs' machines"


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
    """Filters of metrics are in Monitoring's language, those of lines in that of logs."""
    for name in ("thresholds", "charts", "run_metric", "pubsub_metric", "user_metric"):
        if "=~" in str(configuration.locals.get(name)):
            yield f"local.{name}: Monitoring's filters have no =~"
