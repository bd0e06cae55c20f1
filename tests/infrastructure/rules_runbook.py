"""Rules that hold docs/runbook.md to Terraform: each alert has its section, and names are the real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.infrastructure.configuration import Configuration, only

_POLICY = "google_monitoring_alert_policy"

# Which resource a command of gcloud means by the name that it is given.
_NAMED = {
    r"gcloud scheduler jobs \w+ (\S+)": "google_cloud_scheduler_job",
    r"gcloud run \w+ .*--service=(\S+)": "google_cloudfunctions2_function",
    r"gcloud run services [\w-]+ (\S+)": "google_cloudfunctions2_function",
    r"gcloud pubsub subscriptions \w+ (\S+)": "google_pubsub_subscription",
}


def alert_keys(configuration: Configuration) -> dict[str, str]:
    """The name of each alert that is made, and the resource that makes it."""
    over = {
        "local.topics": configuration.locals["topics"],
        "local.names": configuration.locals["functions"],
    }
    thresholds = re.findall(
        r'for \w+, \w+ in (local\.\w+) : "(\w+_)\$\{key\}"', str(configuration.locals["thresholds"])
    )
    families = {
        "${local.log_events}": list(configuration.locals["log_events"]),
        "${local.thresholds}": [f"{prefix}{key}" for each, prefix in thresholds for key in over[each]],
    }
    return {
        key: block.address
        for block in configuration.resources(_POLICY)
        for key in families.get(str(block.body.get("for_each")), [block.name])
    }


def sections(runbook: str) -> list[str]:
    """The headings under "Alerts"; such a heading is its own anchor."""
    alerts = runbook.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    return re.findall(r"^### (.+)$", alerts, re.MULTILINE)


def runbook(configuration: Configuration) -> Iterator[str]:
    """Each alert leads to a section of its own, and each section is an alert's."""
    made, written = alert_keys(configuration), sections(configuration.runbook)
    yield from (f"{key}: docs/runbook.md has no section of that name" for key in made if key not in written)
    yield from (f"docs/runbook.md: there is no alert {key}" for key in written if key not in made)
    if len(written) != len(set(written)):
        yield "docs/runbook.md has two sections of one name: an anchor leads to the first"
    for block in configuration.resources(_POLICY):
        anchor = "${each.key}" if "for_each" in block.body else block.name
        content = str(only(block.body, "documentation").get("content"))
        if not content.endswith(f"docs/runbook.md#{anchor}"):
            yield f"{block.address}: its documentation must end with docs/runbook.md#{anchor}"


def runbook_names(configuration: Configuration) -> Iterator[str]:
    """Commands of the runbook name what Terraform makes."""
    for pattern, kind in _NAMED.items():
        names = {
            name
            for block in configuration.resources(kind)
            if block.kind == kind
            for name in _names(configuration, str(block.body.get("name")))
        }
        typed = [found.strip("`\"'.,;") for found in re.findall(pattern, configuration.runbook)]
        if not typed:
            yield f"docs/runbook.md has no command that names a {kind}"
        for name in typed:
            if name.replace("$JENNAH_DEPLOYMENT", "${var.deployment}") not in names:
                yield f"docs/runbook.md: {name} is no {kind} of {', '.join(sorted(names))}"
    for address in re.findall(r"'(google_\w+\.\w+)\[0\]'", configuration.runbook):
        if "count" not in configuration.resource(address):
            yield f"docs/runbook.md: there is no {address}[0]"


def _names(configuration: Configuration, name: str) -> list[str]:
    """What a name is, for each of the functions or topics that it is made for; topics by their defaults."""
    if "${each.value.name}" in name:
        defaults = re.findall(
            r'optional\(string, "([^"]+)"\)', str(configuration.variable("topics").get("type"))
        )
        return [name.replace("${each.value.name}", topic) for topic in defaults]
    return [name.replace("${each.key}", each) for each in configuration.locals["functions"]]
