"""All rules by name: each says what is wrong with a configuration, in one sentence for each place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.infrastructure import (
    rules_access,
    rules_code,
    rules_functions,
    rules_messaging,
    rules_operations,
    rules_runbook,
    rules_schema,
)
from tests.infrastructure.configuration import Configuration

Rule = Callable[[Configuration], Iterator[str]]

RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        rules_schema.arguments,
        rules_schema.dynamic,
        rules_schema.ignored_changes,
        rules_schema.project,
        rules_schema.descriptions,
        rules_schema.references,
        rules_schema.services,
        rules_schema.versions,
        rules_messaging.subscribed,
        rules_messaging.dead_letters,
        rules_messaging.retries,
        rules_messaging.oidc,
        rules_messaging.expiration,
        rules_messaging.deadlines,
        rules_messaging.topics,
        rules_access.public,
        rules_access.ingress,
        rules_access.bucket,
        rules_access.bindings,
        rules_access.api_calls,
        rules_access.least,
        rules_access.waits,
        rules_access.accounts,
        rules_code.environment_read,
        rules_code.imports,
        rules_code.clients_held,
        rules_code.spanner_names,
        rules_functions.environment,
        rules_functions.threads,
        rules_functions.source,
        rules_functions.sizes,
        rules_functions.capacity,
        rules_operations.database,
        rules_operations.network,
        rules_operations.log_lines,
        rules_operations.filters,
        rules_runbook.runbook,
        rules_runbook.runbook_names,
    )
}


def violations(configuration: Configuration) -> dict[str, list[str]]:
    """What each rule that does not hold says."""
    found = {name: list(rule(configuration)) for name, rule in RULES.items()}
    return {name: said for name, said in found.items() if said}
