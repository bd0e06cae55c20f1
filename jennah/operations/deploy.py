"""`make deploy`: the archive, the database, its schema, and then everything else, in this order.

The schema comes before the code that needs it: functions of a new release must find what they read, and those
of the old release, which still run meanwhile, bear what was added (docs/deploy.md, "Upgrading"). On the first
deployment the database itself comes before both, and with it the rights of builds. Terraform asks before it
changes anything; to let it ask nothing, as in CI, set TF_CLI_ARGS_apply=-auto-approve.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jennah.operations.package import ARCHIVE, PackageError, build

CHECKOUT: Final = Path(__file__).parents[2]

Migrate = Callable[[Sequence[str], Mapping[str, str]], bool]
"""Run `jennah migrate` with these options and this environment; whether it did its work."""

_OLDEST_TERRAFORM: Final = (1, 9)

# The database, and what Google takes minutes to make known everywhere: accounts, and the rights without which
# builds of the functions fail. Making the database and its schema gives it some of these minutes.
_FIRST: Final = (
    "google_spanner_instance.new",
    "google_spanner_database.new",
    "google_service_account.functions",
    "google_artifact_registry_repository_iam_member.build_pushes_functions",
    "google_project_iam_member.build_reads_source",
    "google_project_iam_member.build_writes_logs",
)

_WHERE: Final = "jsonencode([var.spanner.instance, var.spanner.database, var.region])"


class DeployError(Exception):
    """It can't go on. The message is one sentence with the remedy."""


def run_migrate(options: Sequence[str], env: Mapping[str, str]) -> bool:
    """Run the real one."""
    command = [sys.executable, "-c", "from jennah.cli import main; main()", "migrate", *options]
    return subprocess.run(command, env=dict(env), check=False).returncode == 0


@dataclass(frozen=True, slots=True)
class Deploy:
    """One deployment, from a checkout to a project.

    Attributes:
        project: the project's id.
        checkout: where the sources are, and the folder dist/ for what is made.
        terraform: the folder of the root module.
        migrate: what runs `jennah migrate`.
        first: addresses of the resources that are made before the schema, with what they depend on.
    """

    project: str
    checkout: Path = CHECKOUT
    terraform: Path = CHECKOUT / "terraform"
    migrate: Migrate = run_migrate
    first: Sequence[str] = _FIRST

    def run(self, *, apply: bool, migration: bool = True, uncommitted: bool = False) -> None:
        """Show what would change or, with `apply`, change it.

        Args:
            apply: change it.
            migration: bring the schema to this release's; without it, for going back to an older release.
            uncommitted: as `build` takes it.

        Raises:
            DeployError, PackageError: a step did not succeed; the next call begins again at the first.
        """
        self._require()
        self._package(uncommitted=uncommitted)
        self._step(
            "init", remedy="it needs the network to get its providers, or a mirror in Terraform's settings"
        )
        if apply:
            targets = [f"-target={address}" for address in self.first]
            self._step("apply", *targets, remedy="mend what it says, and deploy again")
            if migration:
                self._migrate()
            self._step("apply", remedy="mend what it says, and deploy again")
            self._finish()
            return
        self._step("plan", remedy="mend what it says, and plan again")
        if migration and self._output("environment"):
            self._migrate("--dry-run")
        again = f"make deploy PROJECT={self.project} APPLY=1"
        _say(f"Nothing was changed. What is above, and the schema before the functions, is done by: {again}")

    @property
    def settings_file(self) -> Path:
        """Where the settings for operators' commands are written."""
        return self.checkout / "dist" / f"{self.project}.env"

    def _require(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", self.project):
            named = f"{self.project!r} is no project's id" if self.project else "No project is named"
            raise DeployError(f"{named}: say `make deploy PROJECT=my-project`.")
        if not shutil.which("terraform"):
            raise DeployError(
                "There is no terraform on the PATH: install version 1.9 or newer "
                "(https://developer.hashicorp.com/terraform/install)."
            )
        version = json.loads(self._ask("version", "-json"))["terraform_version"]
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_TERRAFORM:
            raise DeployError(f"terraform is {version}: install version 1.9 or newer.")
        if not list(self.terraform.glob("*.tf")):
            raise DeployError(
                f"There is no Terraform code in {self.terraform}: deploy from a checkout of Jennah."
            )

    def _package(self, *, uncommitted: bool) -> None:
        archive, path = build(self.checkout, uncommitted=uncommitted), self.checkout / ARCHIVE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.content)
        _say(f"{path}: {len(archive.content)} bytes, SHA-256 {archive.digest}")

    def _migrate(self, *options: str) -> None:
        """Run `jennah migrate` on the database that the variables name: no output is known before the end."""
        answer = self._ask("console", *self._variables, stdin=_WHERE)
        instance, database, region = json.loads(json.loads(answer.splitlines()[-1]))
        _say(f"The schema of {instance}/{database}:")
        # A shell that was used with the local cloud may still lead there.
        env = {name: value for name, value in os.environ.items() if not name.endswith("_EMULATOR_HOST")}
        env |= {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "SPANNER_INSTANCE": instance,
            "SPANNER_DATABASE": database,
            "JENNAH_REGION": region,
        }
        if not self.migrate(options, env):
            raise DeployError(
                "The schema is not this release's, so the functions were not touched: mend what stands above "
                "(docs/deploy.md), and deploy again."
            )

    def _finish(self) -> None:
        settings, url = self._output("environment"), self._output("url")
        if not settings or not url:
            raise DeployError(
                f"Everything is applied, but {self.terraform} has not the outputs environment and url."
            )
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in {**settings, "JENNAH_URL": url}.items()]
        self.settings_file.write_text("".join(lines))
        _say(f"The API is at {url}. Settings for operators' commands: {self.settings_file}")
        _say(f"See whether all is well: (set -a; . {self.settings_file}; .venv/bin/jennah doctor)")

    def _output(self, name: str) -> Any:
        """An output, None before the first deployment."""
        return json.loads(self._ask("output", "-json")).get(name, {}).get("value")

    @property
    def _variables(self) -> list[str]:
        return [f"-var=project_id={self.project}"]

    def _step(self, verb: str, *options: str, remedy: str) -> None:
        """Run a step of Terraform's before the user's eyes, who may be asked something."""
        _say(" ".join(["terraform", verb, *options]))
        variables = [] if verb == "init" else self._variables
        command = ["terraform", f"-chdir={self.terraform}", verb, *variables, *options]
        if _run_to_its_end(command):
            raise DeployError(f"`terraform {verb}` did not succeed: {remedy}.")

    def _ask(self, verb: str, *options: str, stdin: str = "") -> str:
        """What Terraform prints."""
        command = ["terraform", f"-chdir={self.terraform}", verb, *options]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DeployError(f"`terraform {verb}` did not succeed: {done.stderr.strip()}")
        return done.stdout


def _run_to_its_end(command: Sequence[str]) -> int:
    """Run it, and give its exit code.

    A Ctrl-C reaches it as well, and is its own affair: killed, Terraform would forget what it has made.
    """
    interrupted = False
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                interrupted = True
            else:
                break
    if interrupted:
        raise KeyboardInterrupt
    return code


def _say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Deploy, as the Makefile says."""
    parser = argparse.ArgumentParser(prog="make deploy", description="Deploy Jennah to a project.")
    parser.add_argument("--project", default="", help="the project's id")
    parser.add_argument("--apply", action="store_true", help="change what the plan shows")
    parser.add_argument("--no-migration", action="store_true", help="leave the schema: for an older release")
    parser.add_argument("--uncommitted", action="store_true", help="deploy what differs from the commit, too")
    options = parser.parse_args(arguments)
    try:
        Deploy(options.project).run(
            apply=options.apply, migration=not options.no_migration, uncommitted=options.uncommitted
        )
    except (DeployError, PackageError) as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
