"""Where things stand."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
SCHEMA = Path(__file__).with_name("provider_schema.json")
PERMISSIONS = ROOT / "docs" / "permissions.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
