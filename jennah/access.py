"""Which server a command speaks to, and as whom; and what becomes of its errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from jennah import local_login
from jennah.client import ApiError, Client, ConnectionFailed
from jennah.endpoint import check_encrypted, check_url, checked_token, is_loopback
from jennah.output import MISUSED, REFUSED, UNREACHABLE, CommandFailed
from jennah.profiles import LoginFailed, Profile, ProfileError, Profiles, is_for_a_login

_DEFAULT_URL = "http://127.0.0.1:8080"
QUICK, PATIENT = 5.0, 60.0
"""For how many seconds a request is repeated: while somebody waits for it; while a job is followed."""

Login = str | Callable[[], str]

_NEXT_STEPS = {
    "PERMISSION_DENIED": "ask the operator to admit you",
    "NOT_FOUND": "'jennah list' shows your jobs",
    "ALREADY_EXISTS": "take another idempotency key",
    "FAILED_PRECONDITION": "'jennah get' shows how it stands",
}


@contextmanager
def connect(
    url: str | None,
    token: str | None,
    profile: str | None = None,
    *,
    insecure: bool = False,
    retry_seconds: float = QUICK,
) -> Iterator[Client]:
    """A client of the server that is meant, as the tenant that is meant.

    Args:
        url: None means the profile's; without one the local cloud that runs for this project, the default
            profile's, or the place where a local cloud would be.
        token: None gets one by the profile's login, or from the local cloud's test issuer, when the server
            is the local cloud's.
        profile: the name of the profile that is meant.
        insecure: let plain http pass; a profile may say so, too.
        retry_seconds: as `Client` takes them.

    Raises:
        CommandFailed: no token, or any error of the client within the block.
    """
    server, chosen = find(url, profile)
    insecure = insecure or (chosen is not None and chosen.insecure)
    with connect_to(server, chosen, token, insecure=insecure, retry_seconds=retry_seconds) as client:
        yield client


@contextmanager
def connect_to(
    server: str,
    profile: Profile | None,
    token: str | None = None,
    *,
    insecure: bool,
    retry_seconds: float = QUICK,
) -> Iterator[Client]:
    """A client of this server, by this profile's login.

    Raises:
        CommandFailed: as `connect`.
    """
    with failures(server, has_login=profile is not None and profile.login is not None):
        check_url(server)
        check_encrypted(server, insecure=insecure)  # before anybody is asked for a token
        login = _login(server, profile, token)
        with Client(server, login, retry_seconds=retry_seconds, insecure=insecure) as client:
            yield client


def find(url: str | None, profile: str | None) -> tuple[str, Profile | None]:
    """The server that is meant, and the profile where one is.

    Raises:
        CommandFailed: there is no such profile, or it is another server's.
    """
    with failures(url or _DEFAULT_URL):
        if profile:
            chosen = Profiles.load().find(profile)
            if url and url.rstrip("/") != chosen.url.rstrip("/"):
                raise CommandFailed(
                    f"the profile {profile!r} is for {chosen.url}, not for {url}: leave out the profile "
                    "(--profile, JENNAH_PROFILE) or the server (--url, JENNAH_URL)",
                    MISUSED,
                )
            return chosen.url, chosen
        if server := url or local_login.known_url():
            return server, None
        profiles = Profiles.load()
        if profiles.default is None:
            return _DEFAULT_URL, None
        chosen = profiles.find(profiles.default)
        return chosen.url, chosen


def token(email: str | None, profile: str | None, *, options: Collection[str]) -> str:
    """An ID token: by the login of the profile that is meant, or else of the local cloud's test issuer.

    Args:
        email: whom the test issuer's token is for.
        profile: the name of the profile that is meant.
        options: which of the two, "email" and "profile", were given as options: they go before the
            environment.

    Raises:
        CommandFailed: there is none, or the options contradict each other.
    """
    server, chosen = find(None if profile else os.environ.get("JENNAH_URL"), profile)
    login = chosen.login if chosen else None
    if login and {"email", "profile"} <= {*options}:
        raise CommandFailed(
            f"--email is whom the local cloud's token is for, and the profile {profile!r} has a login of "
            "its own: leave out the one or the other",
            MISUSED,
        )
    # A profile's token command may be 'jennah token', with that profile and an address in its environment.
    is_own_login = email is not None and is_for_a_login() and "profile" not in options
    if login is None or "email" in options or is_own_login:
        return local_login.test_token(email or local_login.DEFAULT_EMAIL, server)
    with failures(server):
        return checked_token(login())


@contextmanager
def failures(server: str, *, has_login: bool = False) -> Iterator[None]:
    """Turn errors into one sentence with the next step, and an exit code.

    Raises:
        CommandFailed: instead of ApiError, ConnectionFailed, ProfileError, LoginFailed and ValueError.
    """
    try:
        yield
    except ConnectionFailed as error:
        step = f"{local_login.next_step(server)}, or set JENNAH_URL to the server that you mean"
        raise CommandFailed(f"{error}: {step}", UNREACHABLE) from error
    except ApiError as error:
        raise CommandFailed(sentence(error, server, has_login=has_login), _exit_code(error.status)) from error
    except LoginFailed as error:
        raise CommandFailed(str(error), UNREACHABLE) from error
    except (ProfileError, ValueError) as error:
        raise CommandFailed(str(error), MISUSED) from error


def is_about_one_job(error: ApiError) -> bool:
    """Whether other jobs may fare better: not, where the server lets nobody in or is no server of Jennah."""
    return _exit_code(error.status) == REFUSED and error.code != "UNKNOWN"


def sentence(error: ApiError, server: str = "", *, has_login: bool = False) -> str:
    """What the server said, and the next step."""
    message, step = error.message.rstrip("."), _next_step(error, server, has_login=has_login)
    return f"{message}; {step}" if step else message


def _login(server: str, profile: Profile | None, token: str | None) -> Login:
    if token:
        return token.strip()
    if profile and profile.login:
        return profile.login
    if local_login.has_test_issuer(server):
        email = os.environ.get("JENNAH_EMAIL") or local_login.DEFAULT_EMAIL
        return lambda: local_login.test_token(email, server)
    local = f"{local_login.next_step(server)}, or " if is_loopback(server) else ""
    raise CommandFailed(
        f"no token for {server}: {local}set JENNAH_TOKEN to an ID token of your identity provider, "
        "or let 'jennah login' make a profile",
        UNREACHABLE,
    )


def _next_step(error: ApiError, server: str, *, has_login: bool) -> str:
    if error.status == 401:
        if local_login.has_test_issuer(server):
            return "unset JENNAH_TOKEN, or set it to what 'jennah token --email YOU' prints"
        login = ", or see 'jennah profiles list' for the audience" if has_login else ""
        return f"put a fresh ID token into JENNAH_TOKEN{login}"
    if error.retry_after >= 1:
        return f"try again in {error.retry_after:.0f} s"
    if _exit_code(error.status) == UNREACHABLE and error.status != 403:
        return "try again in a moment"
    if error.code == "UNKNOWN":
        return "set JENNAH_URL to a server of Jennah"
    return _NEXT_STEPS.get(error.code, "")


def _exit_code(status: int) -> int:
    if status in {400, 413}:
        return MISUSED
    return UNREACHABLE if status in {401, 403, 429} or status >= 500 else REFUSED
