"""What imports take, from what `python -X importtime` writes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

_LINE: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)
_MOST: Final = 15
# Packages that hold packages of many others.
_SHARED: Final = {"google": 2, "google.cloud": 3, "google.api_core": 2, "opentelemetry": 2}


def read_import_times(log: str) -> dict[str, Any]:
    """How many modules there are, what they take in all, and which packages and modules take longest.

    Times are milliseconds in the module itself, without what it imports.
    """
    packages: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    found = _LINE.findall(log)
    for microseconds, module in found:
        packages[package_of(module)] += int(microseconds)
        modules[module] += int(microseconds)
    return {
        "modules": len(found),
        "milliseconds": round(packages.total() / 1000, 1),
        "packages": _longest(packages),
        "slowest_modules": _longest(modules),
    }


def _longest(spent: Counter[str]) -> dict[str, float]:
    return {name: round(microseconds / 1000, 1) for name, microseconds in spent.most_common(_MOST)}


def package_of(module: str) -> str:
    """`google.cloud.spanner_v1` of `google.cloud.spanner_v1.types`, `flask` of `flask.app`."""
    parts = module.split(".")
    length = max((_SHARED[start] for start in _SHARED if f"{module}.".startswith(f"{start}.")), default=1)
    return ".".join(parts[:length])
