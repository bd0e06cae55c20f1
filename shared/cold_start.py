"""Imported by a function before the rest: what would only delay its answers is left out.

- Nothing is collected until that answer. What is imported stays, but the collector would look through all of
  it again and again meanwhile, which is a tenth of a cold start. `wiring` lets it begin.
- The client of Cloud Monitoring counts as not installed. Spanner's client imports it for metrics of its own,
  goes without where it is missing (metrics/metrics_exporter.py, 3.71), and those are switched off here anyway
  (`database.connect`).
- A stream of gRPC is read by the thread that wants it. Else a thread is started for each read from Spanner,
  which comes as a stream (SingleThreadedUnaryStream in grpc/_channel.py, 1.85). Spanner's client makes its
  channel itself, so that only the environment reaches it.
"""

import gc
import os
import sys

gc.disable()
os.environ.setdefault("GRPC_SINGLE_THREADED_UNARY_STREAM", "1")
sys.modules.setdefault("google.cloud.monitoring_v3", None)  # type: ignore[arg-type]  # None: can't be imported
