"""Whether a retry comes when its policy says, and on the machine that it says."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.simulation.judge_books import Row
from tests.simulation.pubsub import SKEW

# What the backoff is where a job's policy has none: after the first retry, which comes at once.
_FIRST_DELAY, _LONGEST_DELAY = 10.0, 600.0


def wrong_backoff(row: Row, now: datetime) -> str | None:
    """Why a job that has just come to its next attempt waits too long, or not at all; None if it is right."""
    retry, policy = row["Attempt"] - 1, row["Spec"]["retry"]["backoff"]
    if policy is not None:
        first, factor = policy["first_delay_seconds"], policy["factor"]
        longest = min(first * factor ** (retry - 1), policy["max_delay_seconds"])
    else:
        longest = min(_FIRST_DELAY * 2 ** (retry - 2), _LONGEST_DELAY) if retry > 1 else 0.0
    due = row["NotBefore"]
    if (due is None) != (longest == 0):
        return f"retry {retry} waits until {due}, and its policy says {longest:.0f} s"
    if due is not None and due > now + timedelta(seconds=longest + SKEW):
        return f"retry {retry} waits until {due}, which is more than {longest:.0f} s"
    return None


def on_spot(row: Row) -> bool:
    """Whether the current attempt is to run on Spot."""
    match row["Spec"]["provisioning"]:
        case "spot_then_standard":
            return bool(row["InfraRetryCount"] < row["Spec"]["retry"]["max_infrastructure_retries"])
        case provisioning:
            return bool(provisioning == "spot")
