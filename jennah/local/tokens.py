"""Fetching a token from the test issuer. Standard library only: the command line imports it at no cost."""

from __future__ import annotations

import http.client
import json
import urllib.request


def fetch_token(issuer_url: str, email: str, audience: str) -> str:
    """A bearer token of the local cloud for an address.

    Raises:
        OSError: nobody answers at `issuer_url`, or it refuses (`urllib.error.HTTPError`).
        ValueError: what answers there is no test issuer, or `issuer_url` is no URL.
    """
    body = json.dumps({"email": email, "audience": audience}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{issuer_url}/token", body, headers)  # noqa: S310 (the user's own URL)
    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with no_proxy.open(request, timeout=10) as response:
            return str(json.load(response)["id_token"])
    except (http.client.HTTPException, KeyError, TypeError) as error:
        raise ValueError(f"{issuer_url} is no test issuer") from error
