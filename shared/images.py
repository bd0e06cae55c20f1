"""Which images a deployment runs. The default is all of them. Standard library only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from shared.errors import SettingsError

_HUB = "docker.io"
_PREFIX = re.compile(r"[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?")
_DIGEST = re.compile(r".*@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """What an image must be.

    Attributes:
        registries: where it must come from: registries, or paths in them, with their registry's name. None:
            from anywhere.
        digests: whether its digest must pin it, because a tag may name another image tomorrow.
    """

    registries: tuple[str, ...] | None = None
    digests: bool = False

    def problem(self, image_uri: str) -> str | None:
        """What this policy has against an image, with the remedy; None if nothing."""
        if self.registries is not None and not any(
            _inside(image_uri, registry) for registry in self.registries
        ):
            return f"must be an image from {', '.join(self.registries) or 'nowhere: no registry is allowed'}"
        if self.digests and not _DIGEST.fullmatch(image_uri):
            return "must be pinned by its digest: append @sha256: and its 64 hexadecimal digits"
        return None


def images_setting(registries: str, digests: str) -> ImagePolicy:
    """Read JENNAH_IMAGE_REGISTRIES and JENNAH_IMAGE_DIGESTS; empty texts are settings that are not made.

    Raises:
        SettingsError: one is wrong.
    """
    if digests not in {"", "required"}:
        raise SettingsError(f'JENNAH_IMAGE_DIGESTS must be "required" or not set, not {digests!r}.')
    if not registries:
        return ImagePolicy(digests=bool(digests))
    try:
        prefixes = json.loads(registries)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"JENNAH_IMAGE_REGISTRIES is not JSON ({error}).") from None
    if not isinstance(prefixes, list) or not all(
        isinstance(prefix, str) and _PREFIX.fullmatch(prefix) and _registry_of(f"{prefix}/")
        for prefix in prefixes
    ):
        raise SettingsError(
            "JENNAH_IMAGE_REGISTRIES must be a list of registries, or of paths in them, such as "
            '["docker.io/library", "us-docker.pkg.dev/my-project"].'
        )
    return ImagePolicy(tuple(prefix.rstrip("/") for prefix in prefixes), digests=bool(digests))


def _inside(image_uri: str, registry: str) -> bool:
    """Whether an image is at a place, or below it: never beside it under a longer name."""
    name = _full_name(image_uri)
    return name == registry or name.startswith(f"{registry}/")


def _full_name(image_uri: str) -> str:
    """The name that Docker reads: without tag and digest, with what a short name leaves out."""
    name = image_uri.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    name = folder + slash + last.partition(":")[0]
    registry = _registry_of(name)
    path = name[len(registry) :].lstrip("/")
    host = registry.lower() or _HUB
    return f"{host}/library/{path}" if host == _HUB and "/" not in path else f"{host}/{path}"


def _registry_of(name: str) -> str:
    """The registry that a name begins with; empty where it has none, and Docker's own is meant."""
    first, slash, _ = name.partition("/")
    # Docker's own rule.
    named = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return first if slash and named else ""
