"""`make deploy`, with the real Terraform on a root module that needs no cloud: what comes before what.

And as a new user would try it: with a fictitious project, up to the first step that needs the network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.cloud.spanner_v1.database import Database

from jennah.local.services import FUNCTIONS
from jennah.operations.deploy import Deploy, DeployError, run_migrate
from jennah.operations.description import describe
from jennah.operations.package import PackageError

ROOT = Path(__file__).parents[2]
SOURCES = ("functions", "shared", "pyproject.toml", "constraints.txt")

needs_terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not installed")

# Terraform's own resource stands for the database and for the functions: each notes when it is made.
MODULE = """
variable "project_id" { type = string }
variable "region" { default = "europe-west1" }
variable "source_archive" {
  default = "../dist/jennah.zip"
  validation {
    condition     = fileexists(var.source_archive)
    error_message = "There is no archive."
  }
}
variable "spanner" { default = { instance = "alphaus-dev", database = "main" } }
variable "trace" { type = string }

resource "terraform_data" "database" {
  provisioner "local-exec" { command = "echo database >> ${var.trace}" }
}
resource "terraform_data" "functions" {
  triggers_replace = filesha256(var.source_archive)
  depends_on       = [terraform_data.database]
  provisioner "local-exec" { command = "echo functions >> ${var.trace}" }
}
output "environment" {
  value = {
    GOOGLE_CLOUD_PROJECT = var.project_id
    JENNAH_ADMIT         = jsonencode({ emails = ["o'hara@example.com"] })
  }
  depends_on = [terraform_data.functions]
}
output "url" {
  value      = "https://jennah.example.com"
  depends_on = [terraform_data.functions]
}
"""


@dataclass
class Site:
    """A checkout with such a module, and what happened there, in order."""

    checkout: Path
    trace: Path
    migrates: bool = True
    environments: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def deploy(self) -> Deploy:
        return Deploy(
            "my-project",
            checkout=self.checkout,
            terraform=self.checkout / "terraform",
            migrate=self.migrate,
            first=("terraform_data.database",),
        )

    def migrate(self, options: Sequence[str], env: Mapping[str, str]) -> bool:
        with self.trace.open("a") as trace:
            trace.write(" ".join(["schema", *options]) + "\n")
        self.environments.append(env)
        return self.migrates

    def happened(self) -> list[str]:
        """What was noted since the last call."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        self.trace.unlink(missing_ok=True)
        return lines


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "terraform").mkdir()
    (tmp_path / "terraform" / "main.tf").write_text(MODULE)
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    monkeypatch.setenv("TF_CLI_ARGS_apply", "-auto-approve")
    monkeypatch.setenv("TF_VAR_trace", str(tmp_path / "trace"))
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", "127.0.0.1:1")
    return Site(tmp_path, tmp_path / "trace")


@needs_terraform
def test_the_schema_comes_after_the_database_and_before_the_functions(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    site.deploy.run(apply=False)
    assert site.happened() == []
    planned = capfd.readouterr().out
    assert "2 to add" in planned
    assert planned.endswith("is done by: make deploy PROJECT=my-project APPLY=1\n")
    site.deploy.run(apply=True)
    assert site.happened() == ["database", "schema", "functions"]
    (env,) = site.environments
    assert not any(name.endswith("_EMULATOR_HOST") for name in env)
    assert (
        env.items()
        >= {
            "GOOGLE_CLOUD_PROJECT": "my-project",
            "SPANNER_INSTANCE": "alphaus-dev",
            "SPANNER_DATABASE": "main",
            "JENNAH_REGION": "europe-west1",
        }.items()
    )
    assert "https://jennah.example.com" in capfd.readouterr().out


@needs_terraform
def test_an_upgrade_does_the_same_again_and_only_what_changed(site: Site) -> None:
    site.deploy.run(apply=True)
    site.happened()
    site.deploy.run(apply=False)
    assert site.happened() == ["schema --dry-run"]
    site.deploy.run(apply=True)
    assert site.happened() == ["schema"]
    (site.checkout / "shared" / "new.py").write_text("NEW = 1\n")
    site.deploy.run(apply=True)
    assert site.happened() == ["schema", "functions"]
    (site.checkout / "shared" / "new.py").unlink()
    site.deploy.run(apply=True, migration=False)  # back to the release before
    assert site.happened() == ["functions"]


@needs_terraform
def test_where_the_schema_is_not_brought_up_to_date_no_function_is_touched(site: Site) -> None:
    site.migrates = False
    with pytest.raises(DeployError, match="the functions were not touched"):
        site.deploy.run(apply=True)
    assert site.happened() == ["database", "schema"]
    site.migrates = True
    site.deploy.run(apply=True)
    assert site.happened() == ["schema", "functions"]


@needs_terraform
def test_the_settings_it_writes_can_be_read_by_a_shell(site: Site) -> None:
    site.deploy.run(apply=True)
    show = 'set -a; . "$0"; set +a; printf "%s|%s" "$JENNAH_ADMIT" "$JENNAH_URL"'
    shown = subprocess.check_output(["sh", "-c", show, site.checkout / "dist" / "my-project.env"], text=True)
    assert shown == '{"emails":["o\'hara@example.com"]}|https://jennah.example.com'


@needs_terraform
def test_a_step_that_fails_ends_it_with_the_next_step(site: Site) -> None:
    main = site.checkout / "terraform" / "main.tf"
    main.write_text(MODULE.replace("echo database", "exit 1; echo"))
    with pytest.raises(DeployError, match="`terraform apply` did not succeed: mend what it says"):
        site.deploy.run(apply=True)
    assert site.happened() == []
    main.write_text("not HCL {")
    with pytest.raises(DeployError, match="`terraform init` did not succeed"):
        site.deploy.run(apply=False)


def test_the_real_migration_says_whether_it_did_its_work(
    empty_database: Database, spanner_host: str, capfd: pytest.CaptureFixture[str]
) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "GOOGLE_CLOUD_PROJECT": "jennah-test",
        "SPANNER_INSTANCE": "jennah-test",
        "SPANNER_DATABASE": empty_database.database_id,
        "SPANNER_EMULATOR_HOST": spanner_host,
    }
    assert run_migrate(["--dry-run"], env)
    assert describe(empty_database).tables == {}
    assert run_migrate([], env)
    assert "is at the current schema" in capfd.readouterr().out
    assert "Jobs" in describe(empty_database).tables
    assert not run_migrate([], env | {"SPANNER_INSTANCE": "missing"})


def run_deploy(checkout: Path, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """`make deploy` in this checkout."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "TF_"))
    }
    make = ["make", "--no-print-directory", "-o", ".venv/.ready", "deploy", *arguments]
    return subprocess.run(
        make, cwd=checkout, env=env | changed, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The checkout, as a new user has it: the files that Git knows or would know."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "No project is named: say `make deploy PROJECT=my-project`."),
        (("PROJECT=My Project",), "'My Project' is no project's id: say `make deploy PROJECT=my-project`."),
        (("PROJECT=123456",), "'123456' is no project's id: say `make deploy PROJECT=my-project`."),
    ],
)
def test_without_a_project_there_is_one_sentence(
    clone: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = run_deploy(clone, *arguments)
    assert (done.returncode, done.stdout) == (2, "")  # 2 is make's, for any error
    assert done.stderr.split("\n")[1] == sentence
    assert len(done.stderr.strip().split("\n")) == 2  # and what make says


def programs(folder: Path, **scripts: str) -> str:
    """A PATH with the shell's tools and these programs, and without Terraform."""
    folder.mkdir()
    for name in ("sh", "git", "env", "uname", "command"):
        if place := shutil.which(name):
            (folder / name).symlink_to(place)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_without_terraform_or_with_an_old_one_there_is_one_sentence(clone: Path, tmp_path: Path) -> None:
    make = str(shutil.which("make"))
    old = 'echo \'{"terraform_version": "1.5.7"}\''
    for path, sentence in (
        (programs(tmp_path / "none"), "There is no terraform on the PATH: install version 1.9 or newer"),
        (programs(tmp_path / "old", terraform=old), "terraform is 1.5.7: install version 1.9 or newer."),
    ):
        done = subprocess.run(
            [make, "--no-print-directory", "-o", ".venv/.ready", "deploy", "PROJECT=my-project"],
            cwd=clone,
            env={"PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert sentence in done.stderr


PATIENT = """
case "$2" in
    version) echo '{"terraform_version": "1.9.0"}' ;;
    init) ;;
    plan)
        trap 'sleep 1; echo saved >> "$TRACE"; exit 1' INT
        echo began >> "$TRACE"
        while :; do sleep 0.05; done ;;
esac
"""


def test_an_interrupt_lets_terraform_end_in_its_own_way(clone: Path, tmp_path: Path) -> None:
    (clone / "terraform" / "main.tf").write_text("")
    trace = tmp_path / "trace"
    program = clone / ".venv" / "bin" / "python"
    with subprocess.Popen(
        [program, "-m", "jennah.operations.deploy", "--project", "my-project", "--uncommitted"],
        cwd=clone,
        env={
            "PATH": f"{programs(tmp_path / 'bin', terraform=PATIENT)}:{os.environ['PATH']}",
            "TRACE": str(trace),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not trace.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert trace.read_text() == "began\nsaved\n"


has_code = pytest.mark.skipif(
    not list((ROOT / "terraform").glob("*.tf")), reason="there is no Terraform code in this checkout"
)


@has_code
def test_the_terraform_code_has_what_deploying_names() -> None:
    code = "".join(file.read_text() for file in sorted((ROOT / "terraform").glob("*.tf")))
    for address in Deploy("my-project").first:
        kind, name = address.split(".")
        assert f'resource "{kind}" "{name}" {{' in code
    for declared in (
        'variable "project_id"',
        'variable "region"',
        'variable "spanner"',
        "../dist/jennah.zip",
    ):
        assert declared in code
    for output in ("environment", "url"):
        assert f'output "{output}" {{' in code
    for function in FUNCTIONS:
        assert (ROOT / "functions" / f"{function}.py").is_file()
    assert 'GOOGLE_FUNCTION_SOURCE = "functions/${each.key}.py"' in code


@needs_terraform
@has_code
def test_a_new_user_comes_to_the_first_step_that_needs_the_network(clone: Path, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text()
    variables = guide.partition("```hcl\n")[2].partition("```")[0]
    (clone / "terraform" / "terraform.tfvars").write_text(variables)
    nowhere = tmp_path / "terraformrc"
    nowhere.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{tmp_path}/none" }}\n}}\n')
    done = run_deploy(clone, "PROJECT=my-project", TF_CLI_CONFIG_FILE=str(nowhere))
    assert done.returncode == 2
    assert "dist/jennah.zip: " in done.stdout
    assert "terraform init" in done.stdout
    assert "\n`terraform init` did not succeed: it needs the network to get its providers" in done.stderr
    assert "hashicorp/google" in done.stderr
    assert (clone / "dist" / "jennah.zip").is_file()


@needs_terraform
def test_what_is_not_committed_is_not_deployed(site: Site) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "-m", "Begin"]):
        subprocess.run(["git", *arguments], cwd=site.checkout, check=True)
    (site.checkout / "shared" / "jobs.py").write_text("")
    with pytest.raises(PackageError, match=r"shared/jobs.py differs from the commit"):
        site.deploy.run(apply=True)
    assert site.happened() == []
