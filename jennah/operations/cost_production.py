"""What terraform/examples/production costs in a month, by the arithmetic of `costs`.

A test compares the sizes with that example's. Prices are those of us-central1, as everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from jennah.operations.cost_inputs import INPUTS
from jennah.operations.costs import (
    FUNCTIONS,
    ITEMS,
    MONTH_HOURS,
    MONTH_SECONDS,
    RECONCILIATION,
    TICKING,
    capacity,
    processing_units,
    running,
    stored_gib,
    table,
)
from shared.config import Timing

RATE: Final = 50
"""Jobs a second that the example is made for."""

TIMING: Final = Timing(live_check=timedelta(seconds=900))
LEAST_UNITS: Final = 1000
BACKUPS: Final = 35
"""Nightly full backups that are kept."""

ADDRESSES: Final = 2

_SUBMISSION, _SCHEDULING, _NOTIFICATION = FUNCTIONS
SIZES: Final = (
    # Half of submission's 32 requests may be streams.
    replace(_SUBMISSION, memory_gib=1, concurrency=16, least=2),
    replace(_SCHEDULING, least=1),
    replace(_NOTIFICATION, least=1),
)
TICKS: Final = replace(RECONCILIATION, memory_gib=1, concurrency=2, least=1)


def _warm() -> float:
    """Dollars for instances that are there without a request."""
    idle = sum(max(0.0, size.least - size.billed(RATE)) * size.idle_price for size in SIZES)
    return (idle + (TICKS.least - TICKING) * TICKS.idle_price) * MONTH_SECONDS


def _nat() -> float:
    """Dollars for the gateway, which serves more than 32 machines, without what goes through it."""
    return (INPUTS["nat_price"].value + ADDRESSES * INPUTS["address_price"].value) * MONTH_HOURS


def production() -> str:
    """Dollars a month."""
    units = max(LEAST_UNITS, processing_units(RATE, TIMING))
    paid = {name: item(RATE) for name, item in ITEMS.items()} | {
        "Spanner, processing units": capacity(units, "enterprise_price"),
        "functions": running(RATE, SIZES, TICKS),
        "instances kept warm": _warm(),
        f"{BACKUPS} nightly backups of the month's jobs": (
            BACKUPS * stored_gib(RATE) * INPUTS["backup_price"].value
        ),
        f"Cloud NAT: gateway, {ADDRESSES} addresses": _nat(),
    }
    rows = [[name, f"{dollars:,.2f}"] for name, dollars in {**paid, "all": sum(paid.values())}.items()]
    return table(["dollars a month", f"production example, {RATE} jobs/s"], rows)
