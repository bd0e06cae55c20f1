"""Terraform with a stand-in for the provider: whole plans without network or cloud."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infrastructure.places import ROOT, TERRAFORM

GIVEN = {"project_id": "my-project", "oidc_client_id": "1234.apps.googleusercontent.com"}
CHANNEL = "projects/my-project/notificationChannels/1"

# What is planned: the examples, and terraform/ itself with nothing chosen but that all its parts are there.
PLANS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "whole": (
        ".",
        {
            "project_id": "my-project",
            "job_network": {},
            "notification_channels": [CHANNEL],
            "tenant_job_accounts": ["team-a@my-project.iam.gserviceaccount.com"],
            "secret_environment": {
                "OTEL_EXPORTER_OTLP_HEADERS": {
                    "secret": "otlp-headers",
                    "version": "1",
                    "functions": ["scheduling"],
                }
            },
        },
    ),
    "small": ("examples/small", GIVEN),
    "production": ("examples/production", GIVEN | {"notification_channels": [CHANNEL]}),
}

Plan = Mapping[str, Mapping[str, Any]]
"""The planned resources: their values by address."""


class Refused(Exception):
    """Terraform makes no plan of it. The message is what it says."""


@dataclass(frozen=True)
class Terraform:
    """A copy of terraform/ beside an archive, and Terraform to be run in it with the stand-in.

    Attributes:
        folder: the copy.
        environment: what Terraform is run with.
        plans: those of `PLANS` that were made.
    """

    folder: Path
    environment: Mapping[str, str]
    plans: dict[str, Plan]

    @classmethod
    def prepare(cls, folder: Path) -> Terraform:
        """Copy what is needed to an empty folder."""
        shutil.copytree(
            TERRAFORM, folder / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
        )
        (folder / "dist").mkdir()
        with zipfile.ZipFile(folder / "dist" / "jennah.zip", "w") as archive:
            archive.writestr("requirements.txt", ".")
        provider = folder / "provider" / "terraform-provider-google"
        provider.parent.mkdir()
        provider.write_text(
            f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.infrastructure.stand_in_provider\n'
        )
        provider.chmod(0o755)
        settings = folder / "terraformrc"
        settings.write_text(
            f'provider_installation {{\n  dev_overrides {{ "hashicorp/google" = "{provider.parent}" }}\n}}\n'
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")} | {
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_DISABLE_PLUGIN_TLS": "1",
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        return cls(folder / "terraform", environment, {})

    def run(self, *arguments: str, place: str = ".") -> subprocess.CompletedProcess[str]:
        """Run a command of Terraform's in a folder of the copy."""
        return subprocess.run(
            ["terraform", f"-chdir={self.folder / place}", *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def planned(self, name: str) -> Plan:
        """One of `PLANS`, made once."""
        if name not in self.plans:
            self.plans[name] = self.plan(name)
        return self.plans[name]

    def plan(self, name: str) -> Plan:
        """One of `PLANS`, of the copy as it is now.

        Raises:
            Refused: there is none.
        """
        place, variables = PLANS[name]
        return self.plan_of(place, **variables)

    def plan_of(self, place: str, **variables: Any) -> Plan:
        """What a folder of the copy plans with these variables.

        Raises:
            Refused: nothing.
        """
        if place.startswith("examples/"):
            assert self.run("get", place=place).returncode == 0
        (self.folder / place / "test.auto.tfvars.json").write_text(json.dumps(variables))
        options = ("-input=false", "-lock=false", "-no-color", "-out=plan")
        done = self.run("plan", *options, place=place)
        if done.returncode:
            raise Refused(" ".join(done.stderr.replace("│", " ").split()))
        shown = json.loads(self.run("show", "-json", "plan", place=place).stdout)
        return {
            change["address"].removeprefix("module.jennah."): change["change"]["after"]
            for change in shown["resource_changes"]
        }

    @contextmanager
    def edited(self, file: str, old: str, new: str) -> Iterator[None]:
        """Another text in a file of the copy, for a while."""
        path = self.folder / file
        right = path.read_text()
        path.write_text(right.replace(old, new))
        try:
            yield
        finally:
            path.write_text(right)
