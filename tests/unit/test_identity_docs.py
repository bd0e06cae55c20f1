"""The settings that docs/identity.md shows are accepted, and mean what it says."""

from __future__ import annotations

import re
from pathlib import Path

from shared.callers import Identity, OperatorClaim, admits
from shared.config import Settings
from shared.identity import TokenVerifier

PAGE = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()


def test_the_settings_shown_are_accepted() -> None:
    shown = dict(re.findall(r"^(JENNAH_\w+)=(.+)$", PAGE, re.MULTILINE))
    assert shown.keys() == {"JENNAH_OIDC_ISSUERS", "JENNAH_ADMIT", "JENNAH_OPERATORS"}
    settings = Settings.from_env({"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "i", **shown})
    TokenVerifier(settings.issuers)
    for admitted in (
        Identity("google", "1098765"),
        Identity("google", "7", "bob@Example.com", email_verified=True),
        Identity("google", "7", "ann@example.org", email_verified=True),
    ):
        assert admits(settings.admission, admitted)
    assert settings.operators.listed.emails == {"root@example.com"}
    assert settings.operators.claim == OperatorClaim("roles", "jennah-operator", "google")
    assert not admits(settings.admission, Identity("google", "7", "a@mail.example.com", email_verified=True))


def test_the_issuers_shown_are_fit() -> None:
    issuers = re.findall(r"^\| .+ \| `(https://[^`]+)`", PAGE, re.MULTILINE)
    assert len(issuers) >= 8
    for issuer in issuers:
        entry = f'[{{"issuer": "{issuer}", "audience": "a", "provider": "p"}}]'
        environ = {"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "i", "JENNAH_OIDC_ISSUERS": entry}
        TokenVerifier(Settings.from_env(environ).issuers)
