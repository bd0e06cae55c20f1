"""What imports take, from what `python -X importtime` writes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

_LINE: Final = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \|\s+(\S+)$", re.MULTILINE)
_MOST: Final = 15
# Packages that hold packages of many others.
_SHARED: Final = {"google": 2, "google.cloud": 3, "google.api_core": 2, "opentelemetry": 2}


def read_import_times(log: str) -> dict[str, Any]:
    """The packages whose own modules take longest, in milliseconds; all of it; and how many modules it is."""
    spent: Counter[str] = Counter()
    found = _LINE.findall(log)
    for microseconds, _, module in found:
        spent[package_of(module)] += int(microseconds)
    return {
        "modules": len(found),
        "milliseconds": round(spent.total() / 1000, 1),
        "packages": {package: round(time / 1000, 1) for package, time in spent.most_common(_MOST)},
    }


def package_of(module: str) -> str:
    """`google.cloud.spanner_v1` of `google.cloud.spanner_v1.types`, `flask` of `flask.app`."""
    parts = module.split(".")
    length = max((_SHARED[start] for start in _SHARED if f"{module}.".startswith(f"{start}.")), default=1)
    return ".".join(parts[:length])
