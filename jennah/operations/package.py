"""The source archive of the four functions: `python jennah/operations/package.py`, or `make package`.

The four deployments take the same archive and differ only in GOOGLE_FUNCTION_SOURCE and the target. Standard
library only, and the same bytes for the same sources wherever it is made: names are sorted, times and modes
are fixed, and nothing is compressed, because two versions of zlib may compress in two ways.

What Google's Python buildpack does with it (GoogleCloudPlatform/buildpacks, `pkg/python`) explains what
`requirements.txt` says:

- It installs that file in the archive's root, and prefers it to `pyproject.toml`. functions-framework puts
  only the function's own folder on the path, so that `shared` must be installed: that is the line `.`.
- Unless the file itself names functions-framework, it adds one of another version.
- It keeps what it installed for a day, as long as this one file is the same. So the file bears a digest of
  all others: else a build could take the last build's `shared`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

ARCHIVE: Final = "dist/jennah.zip"

_CODE: Final = ("functions", "shared")
_PROJECT, _CONSTRAINTS, _REQUIREMENTS = "pyproject.toml", "constraints.txt", "requirements.txt"
_SOURCES: Final = (*_CODE, _PROJECT, _CONSTRAINTS)

# After 1980, where zip begins, in any time zone.
_TIME: Final = (2000, 1, 1, 0, 0, 0)
_REGULAR_FILE: Final = 0o100644
_UNIX: Final = 3


class PackageError(Exception):
    """There can be no archive. The message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive's bytes, and the names of what differs from the commit and went into it all the same."""

    content: bytes
    uncommitted: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def build(root: Path, *, uncommitted: bool = False) -> Archive:
    """Make the archive of the checkout at `root`.

    It holds what Git knows below functions/ and shared/. A copy of the sources without a repository gives
    the same archive as the commit that it was copied from.

    Args:
        root: the folder of pyproject.toml.
        uncommitted: take files that differ from the commit, and new ones that Git does not ignore.

    Raises:
        PackageError: files are missing, or differ from the commit and may not be taken.
    """
    missing = [name for name in _SOURCES if not (root / name).exists()]
    if missing:
        raise PackageError(f"There is no {root / missing[0]}: make the archive in a checkout of Jennah.")
    changed = _changed(root)
    if changed and not uncommitted:
        raise PackageError(
            f"{_listed(changed)} {'differs' if len(changed) == 1 else 'differ'} from the commit, so that "
            "nobody could make this archive again: commit, or say `make package UNCOMMITTED=1`."
        )
    files = {name: (root / name).read_bytes() for name in _names(root)}
    project = tomllib.loads(files.pop(_PROJECT).decode())
    folders = {PurePosixPath(name).parent for name in files if name.startswith("shared/")}
    files[_PROJECT] = functions_project(
        project, sorted(".".join(folder.parts) for folder in folders)
    ).encode()
    files[_REQUIREMENTS] = _requirements(files).encode()
    return Archive(_zip(files), tuple(changed))


def functions_project(project: Mapping[str, Any], packages: Sequence[str]) -> str:
    """The archive's own pyproject.toml: without the command line and what only that needs, with telemetry.

    Args:
        project: the checkout's pyproject.toml; `tool.jennah.not-in-functions` names what only the command
            line needs.
        packages: what is to be installed.
    """
    about, left_out = project["project"], set(project["tool"]["jennah"]["not-in-functions"])
    wanted = [needed for needed in about["dependencies"] if _name_of(needed) not in left_out]
    # So that traces and metrics can be switched on by a setting alone; off, none of it is imported.
    wanted += about["optional-dependencies"]["telemetry"]
    # JSON's texts and lists of texts are TOML's.
    return "\n".join(
        [
            "[build-system]",
            f"requires = {json.dumps(project['build-system']['requires'])}",
            f"build-backend = {json.dumps(project['build-system']['build-backend'])}",
            "",
            "[project]",
            f"name = {json.dumps(about['name'])}",
            f"version = {json.dumps(about['version'])}",
            f"requires-python = {json.dumps(about['requires-python'])}",
            f"dependencies = {json.dumps(wanted, indent=4)}",
            "",
            "[tool.setuptools]",
            f"packages = {json.dumps(packages)}",
            "",
        ]
    )


def _name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _requirements(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return (
        "# Made by `make package`. The digest lets a build notice what else of the archive changed.\n"
        f"# {digest.hexdigest()}\n"
        f"-c {_CONSTRAINTS}\n"
        "functions-framework\n"
        ".\n"
    )


def _zip(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE << 16
            written.writestr(entry, files[name])
    return archive.getvalue()


def _names(root: Path) -> Iterable[str]:
    """What goes into the archive, relative to `root`: Python of functions/ and shared/, and two files."""
    if (root / ".git").exists():
        listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_SOURCES)
        names = {name for name in listed.split("\0") if (root / name).is_file()}
    else:
        names = {
            path.relative_to(root).as_posix() for folder in _CODE for path in (root / folder).rglob("*.py")
        }
    hidden = {name for name in names if any(part.startswith(".") for part in name.split("/"))}
    return {_PROJECT, _CONSTRAINTS} | {name for name in names - hidden if name.endswith(".py")}


def _changed(root: Path) -> list[str]:
    """What differs from the commit among the sources; nothing where there is no repository."""
    if not (root / ".git").exists():
        return []
    status = _git(
        root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *_SOURCES
    )
    return sorted(entry[3:] for entry in status.split("\0") if entry)


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        raise PackageError("There is no git, which knows what belongs to the commit: install it.") from None
    if done.returncode:
        raise PackageError(f"git does not say what belongs to the commit: {done.stderr.strip()}")
    return done.stdout


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the archive, and say its size and its SHA-256."""
    root = Path(__file__).parents[2]
    parser = argparse.ArgumentParser(prog="make package", description="The source archive of the functions.")
    parser.add_argument("--output", type=Path, default=root / ARCHIVE, help=f"default: {ARCHIVE}")
    parser.add_argument("--uncommitted", action="store_true", help="take what differs from the commit, too")
    options = parser.parse_args(arguments)
    try:
        archive = build(root, uncommitted=options.uncommitted)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_bytes(archive.content)
    except PackageError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{options.output} can't be written ({error.strerror}): name another by --output.")
    if archive.uncommitted:
        sys.stderr.write(f"Of no commit: {_listed(archive.uncommitted)}.\n")
    sys.stdout.write(f"{options.output}: {len(archive.content)} bytes, SHA-256 {archive.digest}\n")


if __name__ == "__main__":
    main()
