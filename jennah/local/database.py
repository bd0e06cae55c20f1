"""Makes the local cloud's database: `python -m jennah.local.database`, with the settings of a function.

A process of its own, so that the supervisor stays without a Spanner client (90 MB).
"""

from __future__ import annotations

import os
import socket
import sys
import time

from google.cloud import spanner

from jennah.operations.migrate import migrate

_START_SECONDS = 30.0


def main() -> None:
    """Wait for the emulator, then make the instance and the migrated database."""
    _await_listener(os.environ["SPANNER_EMULATOR_HOST"])
    client = spanner.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"])
    configuration = f"{client.project_name}/instanceConfigs/emulator-config"
    instance = client.instance(os.environ["SPANNER_INSTANCE"], configuration)
    instance.create().result(30)
    database = instance.database(os.environ["SPANNER_DATABASE"])
    database.create().result(30)
    migrate(database)


def _await_listener(host: str) -> None:
    name, port = host.split(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((name, int(port))) == 0:
                return
        time.sleep(0.01)
    sys.exit(f"Nothing answers at {host}.")


if __name__ == "__main__":
    main()
