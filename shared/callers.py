"""Who may call: the issuers that are believed, who is admitted, who operates the platform, and one caller.

Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OpenID Connect issuer whose ID tokens are accepted.

    `provider` is the name stored with a tenant's identity (`Tenants.OAuthProvider`); `jwks_uri` spares the
    discovery document when the issuer has none.
    """

    issuer: str
    audience: str
    provider: str
    jwks_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may become a tenant. Empty: nobody (tenants that an operator made still may)."""

    everyone: bool = False
    emails: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OperatorClaim:
    """A claim that makes the tokens of a provider an operator's: it is `value`, or a list that holds it."""

    name: str
    value: str
    provider: str


@dataclass(frozen=True, slots=True)
class Operators:
    """Who operates the platform. Empty: nobody."""

    listed: Admission = field(default_factory=Admission)
    claim: OperatorClaim | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """A verified caller. `email` is as the issuer wrote it, and means nothing unless `email_verified`.

    `operator`: the setting lets this caller read what belongs to others.
    """

    provider: str
    subject: str
    email: str | None = None
    email_verified: bool = False
    operator: bool = False


def admits(admission: Admission, identity: Identity) -> bool:
    """Whether the setting lets this identity become a tenant. An empty setting admits nobody.

    `subjects` are "provider:subject". `emails` and `domains` hold for verified addresses only; capitals of
    ASCII don't matter, and a domain is the whole of it: example.com admits nobody at mail.example.com.
    Operators are always let in.
    """
    if identity.operator or admission.everyone:
        return True
    if f"{identity.provider}:{identity.subject}" in admission.subjects:
        return True
    if identity.email is None or not identity.email_verified:
        return False
    # Beyond ASCII lower() makes one address of two: it maps the Kelvin sign to k.
    email = identity.email.lower() if identity.email.isascii() else identity.email
    _, at, domain = email.partition("@")
    return email in admission.emails or (bool(at) and domain in admission.domains)


def json_setting(name: str, text: str) -> Any:
    """The JSON that a setting holds.

    Raises:
        SettingsError: it holds none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not JSON ({error}).") from None


def issuers_setting(text: str) -> tuple[Issuer, ...]:
    """Read JENNAH_OIDC_ISSUERS.

    Raises:
        SettingsError: it is wrong.
    """
    name = "JENNAH_OIDC_ISSUERS"
    entries = json_setting(name, text)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingsError(f'{name} must be a list like [{{"issuer": …, "audience": …, "provider": …}}].')
    issuers = []
    for entry in entries:
        unknown = entry.keys() - {"issuer", "audience", "provider", "jwks_uri"}
        if unknown:
            raise SettingsError(f"{name} has an unknown field {sorted(unknown)[0]!r}.")
        for key in ("issuer", "audience", "provider"):
            if not isinstance(entry.get(key), str) or not entry[key]:
                raise SettingsError(f"{name} has an entry without {key!r}: every issuer needs one.")
        if not isinstance(entry.get("jwks_uri"), str | None):
            raise SettingsError(f"{name} has an entry whose 'jwks_uri' is no text.")
        issuers.append(Issuer(**entry))
    providers = [issuer.provider for issuer in issuers]
    if len(set(providers)) < len(providers):
        raise SettingsError(f"{name} names a provider twice: identities of two issuers would meet.")
    return tuple(issuers)


_ADMITTED: Mapping[str, tuple[str, str]] = {
    "emails": ("addresses such as 'ann@example.com'", r"[^@\s]+@[^@\s]+"),
    "domains": ("domains such as 'example.com'", r"[^@\s]+"),
    "subjects": ("strings 'provider:subject'", r"[^:\s]+:.+"),
}


def admission_setting(text: str) -> Admission:
    """Read JENNAH_ADMIT.

    Raises:
        SettingsError: it is wrong.
    """
    name = "JENNAH_ADMIT"
    if text == "everyone":
        return Admission(everyone=True)
    rules = json_setting(name, text)
    if not isinstance(rules, dict) or rules.keys() - _ADMITTED:
        raise SettingsError(f'{name} must be "everyone" or an object with "emails", "domains" or "subjects".')
    return _listed(name, rules)


def _listed(name: str, rules: Mapping[str, Any]) -> Admission:
    for key, values in rules.items():
        meaning, shape = _ADMITTED[key]
        if not isinstance(values, list) or not all(
            isinstance(value, str) and re.fullmatch(shape, value) for value in values
        ):
            raise SettingsError(f"{name}.{key} must be a list of {meaning}.")
    return Admission(
        emails=frozenset(value.lower() for value in rules.get("emails", ())),
        domains=frozenset(value.lower() for value in rules.get("domains", ())),
        subjects=frozenset(rules.get("subjects", ())),
    )


def operators_setting(text: str, issuers: tuple[Issuer, ...]) -> Operators:
    """Read JENNAH_OPERATORS.

    Raises:
        SettingsError: it is wrong, or believes an issuer that is not configured.
    """
    name = "JENNAH_OPERATORS"
    rules = json_setting(name, text)
    if not isinstance(rules, dict) or rules.keys() - _ADMITTED - {"claim"}:
        raise SettingsError(f'{name} must be an object with "emails", "domains", "subjects" or "claim".')
    claim = rules.pop("claim", None)
    return Operators(_listed(name, rules), None if claim is None else _operator_claim(claim, issuers))


def _operator_claim(claim: Any, issuers: tuple[Issuer, ...]) -> OperatorClaim:
    name = "JENNAH_OPERATORS.claim"
    if (
        not isinstance(claim, dict)
        or not {"name", "value"} <= claim.keys() <= {"name", "value", "provider"}
        or not all(isinstance(value, str) and value for value in claim.values())
    ):
        raise SettingsError(f'{name} must be like {{"name": "roles", "value": "jennah-operator"}}.')
    providers = [issuer.provider for issuer in issuers]
    # What one issuer lets nobody write, another may let everybody choose.
    if "provider" not in claim and len(providers) != 1:
        raise SettingsError(f'{name} needs a "provider": which issuer is believed in this.')
    provider = claim.get("provider", *providers[:1])
    if provider not in providers:
        raise SettingsError(f"{name} names the provider {provider!r}, which JENNAH_OIDC_ISSUERS does not.")
    return OperatorClaim(claim["name"], claim["value"], provider)
