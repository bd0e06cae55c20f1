"""The Jobs API in front of a whole local cloud, where jobs are really scheduled, run and followed."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP
from google.cloud.spanner_v1.database import Database

from jennah.local.cloud import LocalCloud
from jennah.local.issuer import DEFAULT_AUDIENCE, PROVIDER
from jennah.local.processes import free_port
from jennah.local.tokens import fetch_token
from tests.chaos.scene import open_database
from tests.submissions import ACCOUNT

_SETTINGS: Final = {
    "JENNAH_DELETE_AGE_SECONDS": "0.001",
    "JENNAH_LOG_DELAY_SECONDS": "0.001",
    "JENNAH_OPERATORS": json.dumps({"domains": ["operators.example.com"]}),
    "JENNAH_STREAM_SECONDS": "0.2",
}


@dataclass(frozen=True, slots=True)
class CloudScene:
    """The API at `url`; the functions' logs in `logs`."""

    url: str
    logs: Path
    issuer_url: str
    database: Database

    def tenant(self, name: str, domain: str = "example.com") -> str:
        """The token of a new tenant, who may use secrets and buckets.

        At operators.example.com are operators.
        """
        email = f"{name}@{domain}"
        subject = hashlib.sha256(email.encode()).hexdigest()[:32]  # as the issuer names who has this address
        columns = ("TenantId", "OAuthProvider", "OAuthUserId", "JobServiceAccount", "CreatedAt", "UpdatedAt")
        row = (str(uuid.uuid4()), PROVIDER, subject, ACCOUNT, COMMIT_TIMESTAMP, COMMIT_TIMESTAMP)
        with self.database.batch() as batch:
            batch.insert("Tenants", columns, [row])
        return fetch_token(self.issuer_url, email, DEFAULT_AUDIENCE)


@contextmanager
def cloud_scene(folder: Path) -> Iterator[CloudScene]:
    """Start it in this folder."""
    port = free_port()
    with LocalCloud(folder, port, settings=_SETTINGS) as cloud:
        yield CloudScene(
            f"http://127.0.0.1:{port}",
            folder / ".local" / "logs",
            cloud.env["JENNAH_ISSUER_URL"],
            open_database(cloud),
        )
