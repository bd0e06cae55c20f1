"""Tokens that prove nothing, as the function's own process meets them over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.cloud.spanner_v1.instance import Instance

from jennah.local.processes import Processes
from shared.identity import MAX_HEADER_LENGTH
from tests.integration.api_process import ApiProcess, running_api
from tests.integration.function_process import unchanged
from tests.token_mutants import mutants


@pytest.fixture(scope="module")
def api(
    spanner_instance: Instance,
    spanner_host: str,
    pubsub_host: str,
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ApiProcess]:
    hosts = {"SPANNER_EMULATOR_HOST": spanner_host, "PUBSUB_EMULATOR_HOST": pubsub_host}
    folder = tmp_path_factory.mktemp("tokens")
    settings = {"JENNAH_ADMIT": "everyone"}
    with running_api(spanner_instance, processes, folder, hosts, settings=settings) as running:
        yield running


def test_no_mutant_of_a_token_opens_the_process(api: ApiProcess) -> None:
    # What HTTP carries of them; the verifier alone meets all of them in tests/unit/test_identity.py.
    made = {
        name: header
        for name, header in mutants(api.issuers[0]).items()
        if header.isascii() and header == header.strip()
    }
    assert len(made) >= 60
    with unchanged(api.database):
        for name, header in made.items():
            answer = api.client.get("/v1/jobs", headers={"Authorization": header})
            if len(header) > MAX_HEADER_LENGTH:  # the web server's own limit is little more
                assert answer.status_code in {401, 431}, name
            else:
                assert answer.status_code == 401, name
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        good = api.issuers[0].mint("ann@example.com")
        twice = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
        assert api.client.get("/v1/jobs", headers=twice).status_code == 401
        for place in ("access_token", "token", "Authorization"):
            assert api.client.get("/v1/jobs", params={place: good}).status_code == 401
        assert (
            api.client.get("/v1/jobs", headers={"Cookie": f"Authorization=Bearer {good}"}).status_code == 401
        )
        for header in ("X-Forwarded-User", "X-Goog-IAP-JWT-Assertion", "X-Serverless-Authorization"):
            assert api.client.get("/v1/jobs", headers={header: good}).status_code == 401
        assert api.client.get("/v1/jobs", headers={"Authorization": f"Bearer {good}"}).status_code == 200
