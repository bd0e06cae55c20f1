"""The archive of the functions: the same bytes for the same commit, and nothing that is not the commit's."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jennah.local.services import FUNCTIONS
from jennah.operations.package import Archive, PackageError, build, functions_project

ROOT = Path(__file__).parents[2]
SOURCES = ("functions", "shared", "pyproject.toml", "constraints.txt", ".gitignore")


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def copy(folder: Path) -> Path:
    """The sources as they lie here, without a repository."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the sources, with one commit."""
    folder = copy(tmp_path_factory.mktemp("origin") / "jennah")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Callable[..., Path]:
    """Clone it to a folder of this name, with this umask."""

    def make(name: str, umask: int = 0o022) -> Path:
        subprocess.run(
            ["git", "clone", "--quiet", origin, tmp_path / name], check=True, umask=umask, capture_output=True
        )
        return tmp_path / name

    return make


def contents(archive: Archive) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_two_checkouts_of_a_commit_give_the_same_bytes(clone: Callable[..., Path]) -> None:
    one, two = clone("one", 0o022), clone("another place/two", 0o077)
    for number, file in enumerate(sorted((two / "shared").rglob("*.py"))):
        os.utime(file, (10**9 + number, 10**9 + number))
    subprocess.run([sys.executable, "-m", "compileall", "-q", two / "shared"], check=True)
    assert (one / "shared" / "jobs.py").stat().st_mode != (two / "shared" / "jobs.py").stat().st_mode
    first = build(one)
    assert first.content == build(two).content == build(one).content
    assert re.fullmatch(r"[0-9a-f]{64}", first.digest)


def test_so_does_a_copy_without_a_repository(clone: Callable[..., Path], tmp_path: Path) -> None:
    exported = copy(tmp_path / "exported")
    (exported / "shared" / "notes.txt").write_text("not for the archive")
    assert build(exported).content == build(clone("clone")).content


def test_it_holds_the_functions_what_they_share_and_what_installs_them(clone: Callable[..., Path]) -> None:
    archive = build(clone("clone"))
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        entries = opened.infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {f"functions/{name}.py" for name in FUNCTIONS} <= set(names)
    assert {"pyproject.toml", "constraints.txt", "requirements.txt"} <= set(names)
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "shared").rglob("*.py")}
    assert code == {name for name in names if name.startswith("shared/")}
    assert {name.split("/")[0] for name in names if "/" in name} == {"functions", "shared"}
    assert {(entry.date_time, entry.external_attr >> 16, entry.compress_type) for entry in entries} == {
        ((2000, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED)
    }


def test_what_is_not_committed_is_refused_unless_it_is_asked_for(clone: Callable[..., Path]) -> None:
    folder = clone("clone")
    committed = build(folder)
    (folder / "shared" / "new.py").write_text("NEW = 1\n")
    (folder / "functions" / "submission.py").write_text("# changed\n")
    with pytest.raises(PackageError, match=r"functions/submission.py, shared/new.py differ from the commit"):
        build(folder)
    archive = build(folder, uncommitted=True)
    assert archive.uncommitted == ("functions/submission.py", "shared/new.py")
    assert contents(archive)["shared/new.py"] == "NEW = 1\n"
    assert archive.digest != committed.digest
    (folder / "shared" / "new.py").unlink()
    git(folder, "checkout", "--", "functions")
    assert build(folder).content == committed.content


def test_what_git_ignores_and_what_is_elsewhere_stays_out(clone: Callable[..., Path]) -> None:
    folder = clone("clone")
    committed = build(folder)
    (folder / ".git" / "info" / "exclude").write_text("shared/mine.py\n")
    (folder / "shared" / "mine.py").write_text("SECRET = 1\n")
    (folder / "README.md").write_text("changed, and no part of it")
    (folder / ".env").write_text("TOKEN=1\n")
    assert build(folder).content == committed.content
    assert build(folder, uncommitted=True).content == committed.content


def test_a_file_that_was_removed_is_refused(clone: Callable[..., Path]) -> None:
    folder = clone("clone")
    (folder / "shared" / "jobs.py").unlink()
    with pytest.raises(PackageError, match=r"shared/jobs.py differs from the commit"):
        build(folder)
    assert "shared/jobs.py" not in contents(build(folder, uncommitted=True))


@pytest.mark.parametrize("name", ["functions", "shared", "pyproject.toml", "constraints.txt"])
def test_what_is_missing_is_named(clone: Callable[..., Path], name: str) -> None:
    folder = clone("clone")
    (folder / name).rename(folder / "elsewhere")
    with pytest.raises(PackageError, match=rf"There is no .*/{re.escape(name)}: "):
        build(folder)


def test_the_requirements_change_with_every_part_of_the_archive(clone: Callable[..., Path]) -> None:
    """The platform installs anew only when requirements.txt changes: a `shared` of before would be run."""
    folder = clone("clone")
    seen = {contents(build(folder))["requirements.txt"]}
    for name in ("shared/jobs.py", "shared/api/spec.py", "functions/submission.py", "constraints.txt"):
        with (folder / name).open("a") as file:
            file.write("# changed\n")
        seen.add(contents(build(folder, uncommitted=True))["requirements.txt"])
    assert len(seen) == 5
    for text in seen:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert lines == ["-c constraints.txt", "functions-framework", "."]


def test_the_functions_are_installed_without_what_only_the_command_line_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    left_out = project["tool"]["jennah"]["not-in-functions"]
    known = {re.split("[^A-Za-z0-9._-]", needed)[0] for needed in project["project"]["dependencies"]}
    assert set(left_out) <= known
    made = tomllib.loads(functions_project(project, ["shared", "shared.api"]))
    telemetry = {"opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk"}
    assert {re.split("[^A-Za-z0-9._-]", needed)[0] for needed in made["project"]["dependencies"]} == (
        known - set(left_out) | telemetry
    )
    assert made["build-system"] == project["build-system"]
    assert made["tool"]["setuptools"]["packages"] == ["shared", "shared.api"]
    assert "scripts" not in made["project"]


def test_the_command_writes_the_archive_and_says_its_digest(
    clone: Callable[..., Path], tmp_path: Path
) -> None:
    folder = clone("clone")
    script = folder / "jennah" / "operations" / "package.py"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "jennah" / "operations" / "package.py", script)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Without anything that is installed: the standard library is enough.
        command = [sys.executable, "-I", "-S", str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)

    done = run()
    archive = build(folder)
    assert done.stdout.endswith(f"dist/jennah.zip: {len(archive.content)} bytes, SHA-256 {archive.digest}\n")
    assert (folder / "dist" / "jennah.zip").read_bytes() == archive.content
    (folder / "shared" / "jobs.py").write_text("")
    refused = run("--output", str(tmp_path / "none.zip"))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "make package UNCOMMITTED=1" in refused.stderr
    assert not (tmp_path / "none.zip").exists()
    told = run("--uncommitted")
    assert (told.returncode, told.stderr) == (0, "Of no commit: shared/jobs.py.\n")
    unwritable = run("--uncommitted", "--output", str(tmp_path))
    assert (unwritable.returncode, unwritable.stderr.count("\n")) == (1, 1)
