"""Terraform refuses each wrong variable with the sentence that says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.infrastructure.conftest import terraform
from tests.infrastructure.planning import Refused, Terraform

__all__ = ["terraform"]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"project_id": "123"}, "project_id must be a project's id"),
        ({"region": "us-central1-a"}, "us-central1-a is a zone"),
        ({"deployment": "a-name-that-is-too-long"}, "deployment must be 2 to 15"),
        ({"source_archive": "../dist/nothing.zip"}, "run `make package` first"),
        ({"python_runtime": "python310"}, "python_runtime must be"),
        ({"topics": {"jobs": "ticks"}}, "three different names"),
        ({"dead_letter_retention_days": 32}, "Pub/Sub keeps nothing for longer"),
        ({"job_network": {"cidr": "10.0.0.0"}}, "job_network.cidr must be"),
        ({"functions": {"scheduling": {"max_instances": 50}}}, "Batch takes no more changes"),
        ({"functions": {"submission": {"concurrency": 1}}}, "nothing can be streamed"),
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
        ({"admit": {"everyone": True, "domains": ["a"]}}, "leave them out"),
        ({"limits": {"open_jobs": -1}}, "limits must be whole numbers"),
        ({"images": {"registries": ["https://a"]}}, "without https://"),
        ({"times": {"stream": 60}}, "times.stream must be 45 at most"),
        ({"environment": {"JENNAH_REGION": "a"}}, "which have variables here"),
        ({"environment": {"SPANNER_EMULATOR_HOST": "a"}}, "nor PORT"),
        ({"spanner": {"instance": "a1"}}, "either processing_units or autoscaling"),
        ({"spanner": {"processing_units": 150}}, "a multiple of 100"),
        ({"spanner": {"processing_units": 100, "create_database": False}}, "set create_instance = false too"),
        (
            {"spanner": {"autoscaling": {"min_processing_units": 1000, "max_processing_units": 2000}}},
            "needs ENTERPRISE",
        ),
        ({"spanner": {"processing_units": 100, "retention_period": "8d"}}, "from 1h to 7d"),
        ({"notification_channels": ["mail"]}, "must be full names"),
        ({"alerts": {"error_ratio": 5}}, "between 0 and 1"),
        ({"tenant_job_accounts": ["team-a"]}, "must be emails of this project's"),
    ],
)
def test_a_wrong_variable_is_refused(variables: dict[str, Any], sentence: str, terraform: Terraform) -> None:
    with pytest.raises(Refused, match=re.escape(sentence)):
        terraform.plan_of(".", **{"project_id": "my-project", **variables})
