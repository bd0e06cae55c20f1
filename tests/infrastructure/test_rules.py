"""terraform/ keeps every rule, and each rule finds what is planted for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.infrastructure.configuration import Configuration
from tests.infrastructure.places import ROOT
from tests.infrastructure.rules import RULES, violations

_FILES = Configuration.files()


@dataclass(frozen=True)
class Planted:
    """An edit of a file: `old`, which is there once, becomes `new`, and `rule` must object."""

    name: str
    rule: str
    file: str
    old: str
    new: str


PLANTED = [Planted(**edit) for edit in yaml.safe_load(Path(__file__).with_name("planted.yaml").read_text())]


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return Configuration(_FILES)


@pytest.mark.parametrize("rule", RULES)
def test_the_configuration_keeps_the_rule(rule: str, configuration: Configuration) -> None:
    assert list(RULES[rule](configuration)) == []


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_misconfiguration_is_found(planted: Planted) -> None:
    text = _FILES[planted.file]
    assert text.count(planted.old) == 1, "the text to change must be there once"
    changed = Configuration(_FILES | {planted.file: text.replace(planted.old, planted.new)})
    assert list(RULES[planted.rule](changed)), f"found only {violations(changed)}"


def test_every_rule_has_something_planted_for_it() -> None:
    assert RULES.keys() == {planted.rule for planted in PLANTED}
    assert len({planted.name for planted in PLANTED}) == len(PLANTED) >= 20


def test_the_page_of_proofs_counts_them() -> None:
    page = (ROOT / "docs" / "proofs.md").read_text()
    assert f": {len(RULES)} of them, " in page
    assert f"plants {len(PLANTED)} mistakes" in page
