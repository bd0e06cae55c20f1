"""The process that outlives its parent by a moment, to end what the parent had started.

Run as a script by `jennah.local.processes`. Standard input is a pipe whose other end only the parent, and
its children up to their registration, hold open. Each line is `+PGID` (a process group was started) or
`-PGID` (it has ended). End of file means that the parent is gone, however it died: what is still registered
is ended.

Linux can tie a child to its parent with PR_SET_PDEATHSIG, but not a grandchild (`gateway_main` starts
`emulator_main`, gunicorn its workers), and macOS can't at all; a pipe's end of file works everywhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

# Groups get this long, in seconds, to end by themselves: `docker run` needs SIGTERM to stop its container.
GRACE = 2.0


def _signal_groups(groups: set[int], number: int) -> set[int]:
    """Send a signal (0 only looks) and return the groups that exist."""
    existing = set()
    for group in groups:
        # macOS answers EPERM for a group that holds only zombies: as good as gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            existing.add(group)
    return existing


def main() -> None:
    """Follow the registrations until the parent is gone, then end every group that is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    groups = _signal_groups(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = _signal_groups(groups, 0)
    _signal_groups(groups, signal.SIGKILL)


if __name__ == "__main__":
    main()
