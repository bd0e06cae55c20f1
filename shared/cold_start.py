"""Imported by a function before the rest: what would only delay its first answer is left out.

- Nothing is collected until that answer. What is imported stays, but the collector would look through all of
  it again and again meanwhile, which is a tenth of a cold start. `wiring` lets it begin.
- The client of Cloud Monitoring counts as not installed. Spanner's client imports it for metrics of its own,
  goes without where it is missing (metrics/metrics_exporter.py, 3.71), and those are switched off here anyway
  (`database.connect`).
"""

import gc
import sys

gc.disable()
sys.modules.setdefault("google.cloud.monitoring_v3", None)  # type: ignore[arg-type]  # None: can't be imported
