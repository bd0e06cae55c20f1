"""What can go wrong, and where; and the plans that say when it does.

A *site* is a boundary that the code under test crosses: a call of Spanner, Pub/Sub or Batch, a delivery, an
answer. At each one a plan is asked whether something goes wrong there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol


class Fault(StrEnum):
    """One kind of fault. The values are what traces and figures show."""

    CRASH_BEFORE = "killed before"
    CRASH_AFTER = "killed after"
    ABORTED = "ABORTED"
    UNAVAILABLE = "UNAVAILABLE, not done"
    UNAVAILABLE_DONE = "UNAVAILABLE, but done"
    UNAVAILABLE_LATER = "UNAVAILABLE, done later"
    TIMEOUT = "DEADLINE_EXCEEDED, not done"
    TIMEOUT_DONE = "DEADLINE_EXCEEDED, but done"
    TIMEOUT_LATER = "DEADLINE_EXCEEDED, done later"
    THROTTLED = "429"
    PLATFORM_FAULT = "permission denied"
    BEHIND = "an answer behind the truth"
    DROPPED = "dropped"
    DOUBLED = "doubled"
    DELAYED = "delayed past others"
    POISON = "a poison message comes too"
    FORGED = "a forged message comes too"
    ACK_LOST = "acknowledged, yet delivered again"
    SKEWED = "the clock is wrong"
    RUNNING_SKIPPED = "RUNNING skipped"
    PREEMPTED = "preempted"
    VM_LOST = "VM lost"
    DELETED_OUTSIDE = "deleted outside"
    CANCELLED_OUTSIDE = "cancelled outside"
    STUCK = "stays queued"
    NAME_TAKEN = "a foreign job holds the name"
    ORPHANS = "Batch jobs that no row speaks of"
    DEADLY = "for hours, whoever asks for it dies"
    SLOW_TASKS = "for hours, its tasks come page by page, slowly"
    CANCEL_RACES = "its tenant cancels here"
    TENANT_LEAVES = "its tenant leaves here"
    TENANT_DELETED = "its tenant is deleted here, by force"
    PAUSED = "dispatch is paused for a while"


class Site(StrEnum):
    """Where the code under test meets the world."""

    READ = "read"
    COMMIT = "commit"
    PUBLISH = "publish"
    CREATE = "CreateJob"
    GET = "GetJob"
    TASKS = "ListTasks"
    LIST = "ListJobs"
    CANCEL = "CancelJob"
    DELIVER = "deliver"
    ACKNOWLEDGE = "acknowledge"
    NOTIFY = "notify"
    LIFE = "life in Batch"
    TICK = "tick"
    REQUEST = "request"


_RACES = (Fault.CANCEL_RACES, Fault.TENANT_LEAVES, Fault.TENANT_DELETED)
_CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)

FAULTS: Mapping[Site, tuple[Fault, ...]] = {
    Site.READ: (Fault.CRASH_BEFORE, Fault.UNAVAILABLE, Fault.TIMEOUT, *_RACES),
    Site.COMMIT: (
        *_CRASHES,
        Fault.ABORTED,
        Fault.UNAVAILABLE,
        Fault.UNAVAILABLE_DONE,
        Fault.UNAVAILABLE_LATER,
        Fault.TIMEOUT,
        Fault.TIMEOUT_DONE,
        Fault.TIMEOUT_LATER,
        *_RACES,
    ),
    Site.PUBLISH: (*_CRASHES, Fault.UNAVAILABLE, Fault.UNAVAILABLE_DONE, Fault.DROPPED, *_RACES),
    Site.CREATE: (
        *_CRASHES,
        Fault.UNAVAILABLE,
        Fault.UNAVAILABLE_DONE,
        Fault.UNAVAILABLE_LATER,
        Fault.THROTTLED,
        Fault.TIMEOUT,
        Fault.TIMEOUT_DONE,
        Fault.TIMEOUT_LATER,
        Fault.PLATFORM_FAULT,
        Fault.NAME_TAKEN,
        *_RACES,
    ),
    Site.GET: (Fault.CRASH_BEFORE, Fault.UNAVAILABLE, Fault.BEHIND, Fault.DEADLY, *_RACES),
    Site.TASKS: (Fault.CRASH_BEFORE, Fault.UNAVAILABLE, Fault.DEADLY, Fault.SLOW_TASKS, *_RACES),
    Site.LIST: (Fault.CRASH_BEFORE, Fault.UNAVAILABLE, Fault.BEHIND, *_RACES),
    Site.CANCEL: (
        *_CRASHES,
        Fault.UNAVAILABLE,
        Fault.UNAVAILABLE_DONE,
        Fault.UNAVAILABLE_LATER,
        Fault.THROTTLED,
        Fault.TIMEOUT,
        Fault.TIMEOUT_DONE,
        Fault.TIMEOUT_LATER,
        *_RACES,
    ),
    Site.DELIVER: (
        Fault.DROPPED,
        Fault.DOUBLED,
        Fault.DELAYED,
        Fault.POISON,
        Fault.FORGED,
        Fault.SKEWED,
        Fault.PAUSED,
    ),
    Site.ACKNOWLEDGE: (Fault.CRASH_BEFORE, Fault.ACK_LOST, *_RACES),
    Site.NOTIFY: (Fault.DROPPED, Fault.DOUBLED, Fault.DELAYED),
    Site.LIFE: (
        Fault.RUNNING_SKIPPED,
        Fault.PREEMPTED,
        Fault.VM_LOST,
        Fault.DELETED_OUTSIDE,
        Fault.CANCELLED_OUTSIDE,
        Fault.STUCK,
    ),
    Site.TICK: (
        Fault.DROPPED,
        Fault.DOUBLED,
        Fault.DELAYED,
        Fault.SKEWED,
        Fault.POISON,
        Fault.FORGED,
        Fault.ORPHANS,
    ),
    Site.REQUEST: (Fault.SKEWED,),
}


# A tenant that is gone takes what was to be seen with it, orphans and deadly jobs take hours: this share of
# the draws is enough.
_SELDOM: Mapping[Fault, float] = {
    Fault.TENANT_LEAVES: 0.05,
    Fault.TENANT_DELETED: 0.15,
    Fault.ORPHANS: 0.2,
    Fault.DEADLY: 0.2,
}


class Plan(Protocol):
    """Says what goes wrong."""

    def draw(self, site: Site) -> Fault | None:
        """The fault at this crossing of a boundary; None for none."""

    def void(self, site: Site, fault: Fault) -> None:
        """The fault that was drawn changes nothing, or nothing yet: there is nothing for it to change."""

    def effect(self, site: Site, fault: Fault) -> None:
        """A fault that was void so far has changed something after all."""


class Chance:
    """Faults by chance, at this share of all crossings, until they are stopped."""

    def __init__(self, rng: random.Random, share: float) -> None:
        self._rng = rng
        self._share = share
        self.hits: Counter[tuple[Site, Fault]] = Counter()

    def stop(self) -> None:
        """From now on, everything works."""
        self._share = 0.0

    def draw(self, site: Site) -> Fault | None:
        """As the protocol says."""
        rng = self._rng
        if rng.random() >= self._share:
            return None
        kinds = FAULTS[site]
        fault = kinds[int(rng.random() * len(kinds))]
        if fault in _SELDOM and rng.random() > _SELDOM[fault]:
            return None
        self.hits[site, fault] += 1
        return fault

    def void(self, site: Site, fault: Fault) -> None:
        """As the protocol says: it does not count."""
        self.hits[site, fault] -= 1

    def effect(self, site: Site, fault: Fault) -> None:
        """As the protocol says: it counts."""
        self.hits[site, fault] += 1


class Exactly:
    """The given faults at the given crossings, and at no other.

    Attributes:
        crossed: the sites that were crossed, in order.
        acted: the faults that were given out, each at a site that knows it.
        voided: how many of those changed nothing.
        after: how often each site was crossed after the last of them.
    """

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        self._faults = faults
        self.crossed: list[Site] = []
        self.acted: list[tuple[int, Fault]] = []
        self.voided = 0
        self.after: Counter[Site] = Counter()

    def draw(self, site: Site) -> Fault | None:
        """As the protocol says."""
        index = len(self.crossed)
        fault = self._faults.get(index)
        self.crossed.append(site)
        self.after[site] += 1
        if fault is not None and fault in FAULTS[site]:
            self.acted.append((index, fault))
            self.after.clear()
        return fault

    def void(self, site: Site, fault: Fault) -> None:
        """As the protocol says."""
        self.voided += 1

    def effect(self, site: Site, fault: Fault) -> None:
        """As the protocol says."""
        self.voided -= 1
