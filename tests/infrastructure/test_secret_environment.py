"""Variables of functions that are secrets: only the functions that are named get them, and may read them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infrastructure.calls import FUNCTIONS
from tests.infrastructure.planning import Plan, Refused, Terraform

_SECRETS: dict[str, dict[str, Any]] = {
    "OTEL_EXPORTER_OTLP_HEADERS": {"secret": "jennah-otlp-headers", "version": "3"},
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS": {
        "secret": "jennah-otlp-headers",
        "version": "4",
        "functions": ["reconciliation"],
    },
    "HTTPS_PROXY": {"secret": "proxy", "version": "1", "functions": ["submission"]},
}


@pytest.fixture(scope="module")
def planned(terraform: Terraform) -> Plan:
    return terraform.plan_of(".", project_id="my-project", secret_environment=_SECRETS)


def test_a_function_gets_the_variables_that_are_for_it(planned: Plan) -> None:
    for name in FUNCTIONS:
        (service,) = planned[f'google_cloudfunctions2_function.functions["{name}"]']["service_config"]
        given = {
            each["key"]: (each["project_id"], each["secret"], each["version"])
            for each in service["secret_environment_variables"]
        }
        assert given == {
            key: ("my-project", entry["secret"], entry["version"])
            for key, entry in _SECRETS.items()
            if name in entry.get("functions", FUNCTIONS)
        }
        assert not given.keys() & service["environment_variables"].keys()


def test_an_account_reads_the_secrets_of_its_function_and_no_other(planned: Plan) -> None:
    readers = {
        (member["secret_id"], member["role"], member["member"], member["project"])
        for address, member in planned.items()
        if address.startswith("google_secret_manager_secret_iam_member.")
    }
    wanted = [("jennah-otlp-headers", name) for name in FUNCTIONS] + [("proxy", "submission")]
    assert readers == {
        (
            secret,
            "roles/secretmanager.secretAccessor",
            f"serviceAccount:jennah-{name}@my-project.iam.gserviceaccount.com",
            "my-project",
        )
        for secret, name in wanted
    }


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"secret_environment": {"JENNAH_ADMIT": _SECRETS["HTTPS_PROXY"]}}, "of which none is secret"),
        ({"environment": {"HTTPS_PROXY": "a"}}, "name the same variable"),
        ({"secret_environment": {"A": {"secret": "a", "version": "latest"}}}, "and version a number"),
        (
            {"secret_environment": {"A": {"secret": "projects/p/secrets/a", "version": "1"}}},
            "must be the id of a secret",
        ),
        (
            {"secret_environment": {"A": {"secret": "a", "version": "1", "functions": ["submit"]}}},
            "must be some of submission",
        ),
        (
            {"secret_environment": {"A": {"secret": "a", "version": "1", "functions": []}}},
            "must be some of submission",
        ),
    ],
)
def test_a_wrong_secret_is_refused(changed: dict[str, Any], sentence: str, terraform: Terraform) -> None:
    variables = {"project_id": "my-project", "secret_environment": _SECRETS, **changed}
    with pytest.raises(Refused, match=sentence):
        terraform.plan_of(".", **variables)
