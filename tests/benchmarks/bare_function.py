"""The least function that uses Spanner: it imports the client and nothing else, and reads one row."""

import os

import functions_framework
from google.cloud import spanner


@functions_framework.http
def bare(_request: object) -> str:
    """Read one row."""
    # A process answers once here: a client that is kept would save nothing.
    client = spanner.Client(project=os.environ["GOOGLE_CLOUD_PROJECT"], disable_builtin_metrics=True)
    database = client.instance(os.environ["SPANNER_INSTANCE"]).database(os.environ["SPANNER_DATABASE"])
    with database.snapshot() as snapshot:
        rows = snapshot.read("Tenants", ["TenantId"], spanner.KeySet(all_=True), limit=1)
        return str(len(list(rows)))
