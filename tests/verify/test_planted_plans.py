"""What is planted in terraform/ where no rule finds it shows in a plan. Each takes a plan of its own."""

from __future__ import annotations

import pytest

from tests.infrastructure.configuration import Configuration
from tests.infrastructure.conftest import terraform
from tests.infrastructure.planning import Terraform
from tests.infrastructure.planted import PLANTED, Planted
from tests.infrastructure.snapshot import differences

__all__ = ["terraform"]


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return Configuration(Configuration.files())


@pytest.mark.parametrize("planted", [each for each in PLANTED if each.plan], ids=lambda planted: planted.name)
def test_a_planted_misconfiguration_shows_in_a_plan(
    planted: Planted,
    configuration: Configuration,
    terraform: Terraform,
) -> None:
    with terraform.edited(planted.file, planted.old, planted.new):
        plan = terraform.plan(str(planted.plan))
    assert list(differences(str(planted.plan), plan, configuration))
