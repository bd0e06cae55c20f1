"""Live through seeds 1, 2, 3 … in the tree that stands around this file, until something is violated.

python -m tests.mutants.hunt LIMIT, with that tree as working folder and as PYTHONPATH. Prints a line for each
seed, a tab, and what was violated in it. Ends with its standard input, so that it never outlives its parent.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path

import shared
from tests.simulation.seeds import run_seed


def main() -> None:
    """Do what the module says."""
    tree = Path(__file__).parents[2]
    if not Path(str(shared.__file__)).is_relative_to(tree):
        sys.exit(f"shared was imported from {shared.__file__}, not from {tree}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()
    for seed in range(1, int(sys.argv[1]) + 1):
        violation = run_seed(seed).violation
        sys.stdout.write(f"{seed}\t{' '.join(violation.split()) if violation else ''}\n")
        sys.stdout.flush()
        if violation:
            return


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # a buffered read would hold a lock that the interpreter needs to end
    os._exit(1)


if __name__ == "__main__":
    main()
