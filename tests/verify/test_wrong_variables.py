"""Terraform refuses each wrong variable with the sentence that says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.config import Settings
from tests.infrastructure.conftest import terraform
from tests.infrastructure.planning import Refused, Terraform

__all__ = ["terraform"]

_ISSUER = {"issuer": "https://a", "audience": "a", "provider": "a"}
_CLAIM = {"name": "roles", "value": "operator", "provider": "a"}


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"project_id": "123"}, "project_id must be a project's id"),
        ({"region": "us-central1-a"}, "us-central1-a is a zone"),
        ({"deployment": "a-name-that-is-too-long"}, "deployment must be 2 to 15"),
        ({"source_archive": "../dist/nothing.zip"}, "run `make package` first"),
        ({"python_runtime": "python310"}, "python_runtime must be"),
        ({"topics": {"jobs": "ticks"}}, "three different names"),
        ({"topics": {"jobs": "jobs-dead", "batch_events": "jobs"}}, "none of which is another's with -dead"),
        ({"dead_letter_retention_days": 32}, "Pub/Sub keeps nothing for longer"),
        ({"job_network": {"cidr": "10.0.0.0"}}, "job_network.cidr must be"),
        ({"functions": {"scheduling": {"max_instances": 50}}}, "Batch takes no more changes"),
        ({"functions": {"submission": {"concurrency": 1}}}, "nothing can be streamed"),
        (
            {"functions": {"scheduling": {"concurrency": 1.5}}},
            "concurrency, min_instances and max_instances must be whole",
        ),
        ({"functions": {"notification": {"cpu": "0.5"}}}, "cpu must be 1, 2, 4 or 8"),
        (
            {"submission_access": {"public": False, "members": ["allUsers"]}},
            "for everybody say public = true",
        ),
        (
            {"oidc_issuers": [{"issuer": "http://a", "audience": "a", "provider": "a"}]},
            "must begin with https://",
        ),
        (
            {"oidc_issuers": [{"issuer": "https://a", "audience": "", "provider": "a"}]},
            "each needs an audience",
        ),
        ({"oidc_issuers": [_ISSUER | {"audience": None}]}, "each needs an audience"),
        ({"oidc_issuers": [_ISSUER, _ISSUER | {"issuer": "https://b"}]}, "each needs a provider of its own"),
        ({"admit": {"everyone": True, "domains": ["a"]}}, "leave them out"),
        ({"admit": {"emails": ["ann"]}}, "admit: emails must be such as ann@example.com"),
        ({"admit": {"emails": ["ann@example.com\u00a0"]}}, "admit: emails must be such as ann@example.com"),
        ({"operators": {"subjects": ["ann"]}}, "and subjects provider:subject"),
        (
            {"oidc_issuers": [_ISSUER], "operators": {"claim": _CLAIM | {"name": ""}}},
            "must have a name and a value",
        ),
        (
            {"oidc_issuers": [_ISSUER], "operators": {"claim": _CLAIM | {"provider": "zzz"}}},
            "must be the provider of one of oidc_issuers",
        ),
        ({"limits": {"open_jobs": -1}}, "limits must be whole numbers"),
        ({"images": {"registries": ["https://a"]}}, "without https://"),
        ({"images": {"registries": ["UPPER/x"]}}, "in lower case"),
        ({"images": {"registries": ["library"]}}, "images.registries must be registries"),
        ({"times": {"body": 300}}, "times.body must be 60 at most"),
        ({"times": {"stream": 60}}, "times.stream must be 45 at most"),
        ({"environment": {"JENNAH_REGION": "a"}}, "which have variables here"),
        ({"environment": {"SPANNER_EMULATOR_HOST": "a"}}, "nor PORT"),
        (
            {"environment": {"OTEL_TRACES_EXPORTER": "zipkin"}},
            "must be none, otlp, otlp_proto_http or console",
        ),
        (
            {
                "environment": {
                    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a",
                    "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                }
            },
            "must be http/protobuf or not set",
        ),
        ({"spanner": {"instance": "a1"}}, "either processing_units or autoscaling"),
        ({"spanner": {"processing_units": 150}}, "a multiple of 100"),
        ({"spanner": {"processing_units": 100, "create_database": False}}, "set create_instance = false too"),
        (
            {"spanner": {"autoscaling": {"min_processing_units": 1000, "max_processing_units": 2000}}},
            "needs ENTERPRISE",
        ),
        ({"spanner": {"processing_units": 100, "retention_period": "8d"}}, "from 1h to 7d"),
        ({"spanner": {"processing_units": 100, "backup_cron": "hello"}}, "must be the five fields"),
        ({"notification_channels": ["mail"]}, "must be full names"),
        ({"alerts": {"error_ratio": 5}}, "between 0 and 1"),
        ({"tenant_job_accounts": ["team-a"]}, "must be emails of this project's"),
    ],
)
def test_a_wrong_variable_is_refused(variables: dict[str, Any], sentence: str, terraform: Terraform) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        terraform.plan_of(".", **{"project_id": "my-project", **variables})


def test_what_is_just_right_is_planned_and_functions_start_with_it(terraform: Terraform) -> None:
    planned = terraform.plan_of(
        ".",
        project_id="my-project",
        topics={"jobs": "jobs-dead"},
        functions={"scheduling": {"concurrency": 9.0}},
        oidc_issuers=[_ISSUER, _ISSUER | {"provider": "b"}],
        admit={"emails": ["Ann@example"], "domains": ["a"], "subjects": ["a:b:c", "a: "]},
        operators={"claim": _CLAIM | {"value": " ", "provider": "b"}},
        images={"registries": ["localhost", "localhost:80/x", "a.b/", "a-.b/c__d/e"]},
        times={"body": 60, "stream": 0.001, "log_delay": 86400},
        environment={
            "OTEL_TRACES_EXPORTER": "otlp_proto_http, console,none",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/protobuf",
        },
        spanner={"processing_units": 100, "backup_cron": "0 2/12 1,15 */2 *"},
    )
    (service,) = planned['google_cloudfunctions2_function.functions["scheduling"]']["service_config"]
    settings = Settings.from_env(service["environment_variables"])
    assert settings.threads == 9
    assert settings.telemetry.traces == ("otlp_proto_http", "console")
    assert settings.telemetry.metrics == ("otlp_proto_http",)
