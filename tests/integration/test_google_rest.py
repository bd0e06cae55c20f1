"""Google's REST APIs are asked as the operator; and what the doctor says where they guard the API itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.api_core import exceptions

from jennah.operations import google_rest
from jennah.operations.doctor import Verdict
from jennah.operations.doctor_settings import api_findings
from jennah.operations.google_rest import GoogleRest
from tests.integration.google_apis import DEPLOYMENT, PROJECT, Refusal, lint_gcloud, serving


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_nobody_who_listens_is_unreachable() -> None:
    rest = GoogleRest(httpx.Client(), lambda _: "http://127.0.0.1:1")
    with pytest.raises(exceptions.ServiceUnavailable):
        rest.read("run", "v2")


def test_the_operator_is_asked_for_a_token_and_the_project_of_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: dict[str, Any] = {
        "oauth/token": {"access_token": "the-token", "expires_in": 3600, "token_type": "Bearer"},
        "run/v2/who": lambda headers: {
            name: headers[name] for name in ("Authorization", "X-Goog-User-Project")
        },
    }
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with serving(answers) as served:
        login = tmp_path / "credentials.json"
        credentials = {
            "type": "service_account",
            "client_email": "operator@my-project.iam.gserviceaccount.com",
            "private_key": key.decode(),
            "token_uri": served._address("oauth/token"),
        }
        login.write_text(json.dumps(credentials))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(login))
        monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", PROJECT)
        google_rest._credentials.cache_clear()
        try:
            told = GoogleRest(address=served._address).read("run", "v2/who")
        finally:
            google_rest._credentials.cache_clear()
    assert told == {"Authorization": "Bearer the-token", "X-Goog-User-Project": PROJECT}


@pytest.mark.parametrize("status", [401, 403])
def test_an_api_that_google_guards_has_two_ways_to_be_opened(status: int) -> None:
    with serving({"api/health": Refusal(status, "")}) as served:
        deployment = replace(DEPLOYMENT, url=served._address("api"))
        (finding,) = api_findings(deployment)
    assert finding.verdict is Verdict.TO_FIX
    assert f"is answered by {status}: Google asks callers for a login" in finding.found
    first, second = re.findall(r"gcloud run services .*?--project=my-project", finding.fix)
    assert first.startswith("gcloud run services add-iam-policy-binding jennah-submission --member=allUsers")
    assert second.startswith("gcloud run services update jennah-submission --no-invoker-iam-check")
    lint_gcloud([first, second])
