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


def test_every_setting_is_documented_and_none_that_does_not_exist() -> None:
    config = (ROOT / "shared" / "config.py").read_text()
    timing = re.search(r"_TIMES = \((.*?)\)", config, re.DOTALL)
    assert timing is not None
    read = set(re.findall(r'environ(?:\.get\(|, )"([A-Z_]+)"', config))
    read |= {f"JENNAH_{name.upper()}_SECONDS" for name in re.findall(r'"(\w+)"', timing[1])}
    table = README.partition("## Configuration")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`((?:JENNAH|SPANNER|PUBSUB|BATCH|LOGGING|GOOGLE)_[A-Z_]+|THREADS)`", table))
    # The Pub/Sub client reads its emulator's variable itself.
    assert documented == read | {"PUBSUB_EMULATOR_HOST"}


def test_it_stays_short_and_its_links_and_targets_exist() -> None:
    assert len(README.splitlines()) <= 250
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets
