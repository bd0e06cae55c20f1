"""The command line, run in the test's own process.

A new process would show nothing more, and its imports cost half a second of CPU: what is true of the process
itself (signals, closed streams, what is imported, terminals) is tested with real ones.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from jennah.cli import main


def run_command(
    *words: str, env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What `jennah` with these words would print, and its exit code."""
    with (
        Path(os.devnull).open(encoding="utf-8") as nothing,
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        with _as_a_process(["jennah", *words], env, cwd, (nothing, out, err)):
            code = _code()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def _code() -> int:
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code is None or isinstance(ended.value.code, int)
    return ended.value.code or 0


@contextlib.contextmanager
def _as_a_process(
    argv: list[str], env: Mapping[str, str], cwd: Path | None, streams: tuple[IO[str], IO[str], IO[str]]
) -> Iterator[None]:
    before = (sys.argv, os.environ.copy(), sys.stdin, sys.stdout, sys.stderr)
    with contextlib.chdir(cwd or Path.cwd()):
        try:
            sys.argv = argv
            sys.stdin, sys.stdout, sys.stderr = streams
            os.environ.clear()
            os.environ.update(env)
            yield
        finally:
            os.environ.clear()
            os.environ.update(before[1])
            sys.argv, _, sys.stdin, sys.stdout, sys.stderr = before
