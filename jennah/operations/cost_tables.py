"""The tables of docs/costs.md and docs/capacity.md.

python -m jennah.operations.cost_tables
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jennah.operations.cost_production import production
from jennah.operations.costs import extras, inputs, monthly, needs, per_thousand

TABLES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "docs/costs.md: inputs": inputs,
        "docs/costs.md: a month": monthly,
        "docs/costs.md: per 1,000 jobs": per_thousand,
        "docs/costs.md: besides": extras,
        "docs/costs.md: the production example": production,
        "docs/capacity.md: needs": needs,
    }
)

if __name__ == "__main__":
    print("\n\n".join(f"{name}\n\n{made()}" for name, made in TABLES.items()))  # noqa: T201 - what it is for
