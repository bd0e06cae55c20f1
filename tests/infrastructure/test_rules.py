"""terraform/ keeps every rule and plans what was reviewed; what is planted there is found.

What only a plan shows is planted in tests/verify/test_planted_plans.py.
"""

from __future__ import annotations

import pytest

from tests.infrastructure.configuration import Configuration
from tests.infrastructure.places import ROOT
from tests.infrastructure.planning import PLANS, Terraform
from tests.infrastructure.planted import PLANTED, Planted
from tests.infrastructure.rules import RULES, violations
from tests.infrastructure.snapshot import differences

_FILES = Configuration.files()


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return Configuration(_FILES)


@pytest.mark.parametrize("rule", RULES)
def test_the_configuration_keeps_the_rule(rule: str, configuration: Configuration) -> None:
    assert list(RULES[rule](configuration)) == []


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_is_what_was_reviewed(plan: str, configuration: Configuration, terraform: Terraform) -> None:
    assert list(differences(plan, terraform.planned(plan), configuration)) == []


def _named(finder: str) -> pytest.MarkDecorator:
    found = [planted for planted in PLANTED if getattr(planted, finder)]
    return pytest.mark.parametrize("planted", found, ids=lambda planted: planted.name)


@_named("name")
def test_what_is_planted_is_found_by_something(planted: Planted) -> None:
    assert planted.rule or planted.plan
    assert _FILES[planted.file].count(planted.old) == 1, "the text to change must be there once"


@_named("rule")
def test_a_planted_misconfiguration_breaks_its_rule(planted: Planted) -> None:
    text = _FILES[planted.file].replace(planted.old, planted.new)
    changed = Configuration(_FILES | {planted.file: text})
    assert list(RULES[str(planted.rule)](changed)), f"found only {violations(changed)}"


def test_every_rule_has_something_planted_for_it() -> None:
    assert RULES.keys() == {planted.rule for planted in PLANTED} - {None}
    assert len({planted.name for planted in PLANTED}) == len(PLANTED)


def test_the_page_of_proofs_counts_them() -> None:
    page = (ROOT / "docs" / "proofs.md").read_text()
    assert f": {len(RULES)} of them, " in page
    assert f"plants {len(PLANTED)} mistakes" in page
