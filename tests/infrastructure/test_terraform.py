"""What Terraform itself says of the configuration, where it is installed; without network or cloud.

A stand-in for the provider knows the resources' schema. So Terraform judges types, references and
validations, and makes whole plans of the examples. tests/verify/test_wrong_variables.py has what it refuses.
"""

from __future__ import annotations

import json
import re

import pytest

from jennah.operations import costs
from shared.config import Settings
from tests.infrastructure.calls import FUNCTIONS
from tests.infrastructure.places import ROOT, RUNBOOK
from tests.infrastructure.planning import GIVEN, Terraform
from tests.infrastructure.rules_functions import open_creates
from tests.infrastructure.rules_runbook import sections


def test_it_is_valid(terraform: Terraform) -> None:
    said = json.loads(terraform.run("validate", "-json").stdout)
    assert (said["valid"], said["error_count"]) == (True, 0), said["diagnostics"]


def test_the_stand_in_lets_terraform_see_what_is_wrong(terraform: Terraform) -> None:
    with terraform.edited("topics.tf", "ack_deadline_seconds ", "ack_deadline "):
        said = json.loads(terraform.run("validate", "-json").stdout)
    assert [each["summary"] for each in said["diagnostics"] if each["severity"] == "error"] == [
        "Unsupported argument"
    ]


@pytest.mark.parametrize("example", ["small", "production"])
def test_functions_start_with_the_settings_of_an_example(example: str, terraform: Terraform) -> None:
    planned = terraform.planned(example)
    for name in FUNCTIONS:
        function = planned[f'google_cloudfunctions2_function.functions["{name}"]']
        (service,), (build,) = function["service_config"], function["build_config"]
        settings = Settings.from_env(service["environment_variables"])
        assert settings.threads == service["max_instance_request_concurrency"]
        assert settings.timing.function_timeout.total_seconds() == service["timeout_seconds"]
        assert settings.job_service_account == "jennah-job@my-project.iam.gserviceaccount.com"
        assert [issuer.audience for issuer in settings.issuers] == [GIVEN["oidc_client_id"]]
        assert settings.admission.domains == {"example.com"}
        settings.require_job_account()
        assert (settings.job_network is not None) == (example == "production")
        assert (ROOT / build["environment_variables"]["GOOGLE_FUNCTION_SOURCE"]).exists()
        assert service["ingress_settings"] == ("ALLOW_ALL" if name == "submission" else "ALLOW_INTERNAL_ONLY")


@pytest.mark.parametrize("example", ["small", "production"])
def test_pushes_of_an_example_reach_their_functions(example: str, terraform: Terraform) -> None:
    planned = terraform.planned(example)
    pushed_to = {"jobs": "scheduling", "batch_events": "notification", "ticks": "reconciliation"}
    for topic, function in pushed_to.items():
        subscription = planned[f'google_pubsub_subscription.push["{topic}"]']
        (push,), (dead,) = subscription["push_config"], subscription["dead_letter_policy"]
        address = f"https://jennah-{function}-made-up-uc.a.run.app"
        assert (push["push_endpoint"], push["oidc_token"][0]["audience"]) == (address, address)
        kept = planned[f'google_pubsub_subscription.dead["{topic}"]']
        assert (kept["topic"], kept["name"]) == (dead["dead_letter_topic"], f"{subscription['name']}-dead")
        assert (
            push["oidc_token"][0]["service_account_email"] == "jennah-push@my-project.iam.gserviceaccount.com"
        )


def test_each_alert_of_a_plan_leads_to_its_section_of_the_runbook(terraform: Terraform) -> None:
    planned = terraform.planned("small")
    led = {}
    for address, policy in planned.items():
        if address.startswith("google_monitoring_alert_policy."):
            key = re.sub(r'.*\["(\w+)"\]|.*\.(\w+)', r"\1\2", address)
            led[key] = policy["documentation"][0]["content"].partition("docs/runbook.md#")[2]
    assert led == {key: key for key in sections(RUNBOOK.read_text())}
    assert len(led) == 18


def test_the_large_example_has_room_for_what_it_says(terraform: Terraform) -> None:
    planned = terraform.planned("production")
    sizes = {
        name: planned[f'google_cloudfunctions2_function.functions["{name}"]']["service_config"][0]
        for name in FUNCTIONS
    }
    for function in costs.FUNCTIONS:
        assert sizes[function.name]["max_instance_count"] >= function.instances(50), function.name
    scheduling = sizes["scheduling"]
    most = scheduling["max_instance_count"] * scheduling["max_instance_request_concurrency"]
    assert most <= open_creates()
    timing = Settings.from_env(scheduling["environment_variables"]).timing
    assert timing.live_check.total_seconds() == 900
    assert costs.looks(600, timing) == 0  # of a job that runs as long as docs/costs.md assumes


def test_dead_letters_are_kept_as_long_as_pubsub_does(terraform: Terraform) -> None:
    planned = terraform.planned("small")
    kept = {
        topic: planned[f'google_pubsub_subscription.dead["{topic}"]']["message_retention_duration"]
        for topic in ("jobs", "batch_events", "ticks")
    }
    assert kept == {"jobs": "2678400s", "batch_events": "2678400s", "ticks": "86400s"}


def test_everything_can_be_set_otherwise(terraform: Terraform) -> None:
    planned = terraform.plan_of(
        ".",
        project_id="my-project",
        deployment="jennah-2",
        topics={"jobs": "jobs-2", "batch_events": "batch-events-2", "ticks": "ticks-2"},
        spanner={"instance": "alphaus-dev", "create_instance": False, "create_database": False},
        submission_access={"public": False, "members": ["group:users@example.com"]},
        admit={"everyone": True},
        oidc_issuers=[
            {
                "issuer": "https://a.example",
                "audience": "a",
                "provider": "a",
                "jwks_uri": "https://a.example/keys",
            }
        ],
        operators={"claim": {"name": "roles", "value": "operator", "provider": "a"}},
        times={"stream": 30, "retry_base": 5},
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "https://example.com"},
        tenant_job_accounts=["team-a@my-project.iam.gserviceaccount.com"],
    )
    addresses = " ".join(planned)
    assert "google_spanner_instance" not in addresses
    assert "google_spanner_database.new" not in addresses
    assert "google_compute" not in addresses
    invoker = planned['google_cloud_run_service_iam_member.submission["group:users@example.com"]']
    assert invoker["service"] == "jennah-2-submission"
    (service,) = planned['google_cloudfunctions2_function.functions["submission"]']["service_config"]
    variables = service["environment_variables"]
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://example.com"
    settings = Settings.from_env(variables)
    assert settings.admission.everyone
    assert settings.operators.claim is not None
    assert (settings.spanner_instance, settings.jobs_topic) == ("alphaus-dev", "jobs-2")
    assert settings.timing.stream.total_seconds() == 30
    for binding in ("job_reports", "job_writes_logs"):
        assert f'google_project_iam_member.{binding}["team-a@my-project.iam.gserviceaccount.com"]' in planned
