"""Mistakes that are planted in terraform/ and its pages, and what must find each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Planted:
    """An edit of a file: `old`, which is there once, becomes `new`.

    Attributes:
        rule: what must object; none where only a plan shows it.
        plan: the one of `PLANS` that must not be what was reviewed; none where a rule is enough.
    """

    name: str
    file: str
    old: str
    new: str
    rule: str | None = None
    plan: str | None = None


PLANTED = [Planted(**edit) for edit in yaml.safe_load(Path(__file__).with_name("planted.yaml").read_text())]
