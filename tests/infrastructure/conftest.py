"""Terraform for the tests that need it, where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.infrastructure.planning import Terraform


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    folder = tmp_path_factory.mktemp("terraform")
    yield Terraform.prepare(folder)
    # What plans left in the modules' folders goes with the copy.
    shutil.rmtree(folder)
