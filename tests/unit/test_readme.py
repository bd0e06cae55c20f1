"""The README says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from jennah.operations.diagram import state_diagram

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_diagram_is_drawn_from_the_table() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    assert drawn == state_diagram()


def test_its_settings_are_those_of_the_page_that_has_all() -> None:
    """docs/configuration.md is held to the code: see test_operator_docs."""
    every = (ROOT / "docs" / "configuration.md").read_text()
    section = README.partition("## Configuration")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", section))
    assert {"GOOGLE_CLOUD_PROJECT", "SPANNER_INSTANCE", "JENNAH_OIDC_ISSUERS", "JENNAH_ADMIT"} <= named
    assert {name for name in named if f"| `{name}` |" not in every} == set()


def test_it_stays_short_and_its_links_and_targets_exist() -> None:
    assert len(README.splitlines()) <= 250
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
