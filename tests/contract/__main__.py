"""Whether the API does what its document says, and nothing else: `python -m tests.contract`.

The document that a local cloud serves is tried in pieces, each as a new tenant, whose jobs run: the bounds of
every field first, then random requests and sequences of them. Where the server did something that the
document does not say, answered 5xx, heeded no token or wrote a line to its log that is no JSON object, the
exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

from jennah.local.services import FUNCTIONS
from shared.api.operations import OPERATIONS
from tests.contract.cloud import CloudScene, cloud_scene
from tests.contract.run import Verdict, run

_MOST: Final = 100_000
_EXAMPLES: Final = 60  # of each operation in a piece: about 700 requests, and 1,300 for the bounds
_SECONDS: Final = 1800.0  # of a piece: less than a token lasts
_LONGEST_LINE: Final = 300

_PHASES: Final = ("coverage", "fuzzing", "stateful")

# Whoever has deleted its tenant can do little else: it has a piece of its own.
_PARTING: Final = ("delete_tenant", "get_tenant")
_STAYING: Final = tuple(operation.id for operation in OPERATIONS if operation.id != "delete_tenant")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help=f"at least so many; at most {_MOST}")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the first piece")
    options = parser.parse_args()
    if not 1 <= options.requests <= _MOST:
        parser.error(f"--requests must be 1 to {_MOST}")
    with tempfile.TemporaryDirectory(prefix="jennah-contract-") as name:
        folder = Path(name)
        with cloud_scene(folder) as api:
            requests, drift = _pieces(api, folder, requests=options.requests, seed=options.seed)
            drift += _complaints(api.logs)  # before it ends: gRPC tells of connections that are closed
    _say(f"contract: {requests} requests, {drift} findings")
    return 1 if drift else 0


def _pieces(api: CloudScene, folder: Path, *, requests: int, seed: int) -> tuple[int, int]:
    """How many requests were made, and how many kinds of findings there were."""
    made = findings = 0

    def piece(seed: int, phases: Sequence[str], operations: Sequence[str], domain: str) -> None:
        nonlocal made, findings
        verdict = run(
            api.url,
            api.tenant(f"tenant-{seed}", domain),
            folder,
            seed=seed,
            examples=_EXAMPLES,
            phases=phases,
            operations=operations,
            seconds=_SECONDS,
        )
        _tell(verdict, seed)
        made += verdict.requests
        findings += len(verdict.drift)

    piece(seed, ("coverage", "fuzzing"), _PARTING, "example.com")
    for number in count(1):
        domain = ("operators.example.com", "example.com")[number % 2]
        piece(seed + number, _PHASES if number == 1 else _PHASES[1:], _STAYING, domain)
        if made >= requests:
            break
    return made, findings


def _tell(verdict: Verdict, seed: int) -> None:
    _say(f"seed {seed}: {verdict.requests} requests, {len(verdict.drift)} findings")
    if verdict.drift:
        for line in (*verdict.shown.splitlines(), *verdict.drift):
            _say(line[:_LONGEST_LINE])


def _complaints(logs: Path) -> int:
    """How many lines of the functions' logs are no JSON object, or tell of a fault of ours."""
    lines = [line for name in FUNCTIONS for line in (logs / f"{name}.log").read_bytes().splitlines()]
    found = 0
    for line in lines:
        try:
            severity = json.loads(line)["severity"]
        except (ValueError, TypeError, KeyError):
            severity = "no JSON object"
        if severity not in {"DEBUG", "INFO", "WARNING"}:
            found += 1
            _say(f"log: {line[:_LONGEST_LINE]!r}")
    return found


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
