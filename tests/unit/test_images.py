"""Which images a deployment runs, and the settings that say so."""

from __future__ import annotations

import json

import pytest

from shared.config import Settings
from shared.errors import SettingsError
from shared.images import ImagePolicy, images_setting

PINNED = "@sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize("image", ["busybox", "evil.example.com/x", "Anything/at:all", ""])
def test_every_image_is_allowed_by_default(image: str) -> None:
    assert ImagePolicy().problem(image) is None
    assert images_setting("", "") == ImagePolicy()


@pytest.mark.parametrize(
    ("registry", "image"),
    [
        ("us-docker.pkg.dev", "us-docker.pkg.dev/p/r/i"),
        ("us-docker.pkg.dev/p", "us-docker.pkg.dev/p/r/i:1"),
        ("us-docker.pkg.dev/p/r/i", "us-docker.pkg.dev/p/r/i:1" + PINNED),
        ("us-docker.pkg.dev/p", "US-docker.pkg.dev/p/i"),
        ("localhost:5000", "localhost:5000/i"),
        ("docker.io", "busybox"),
        ("docker.io", "team/tool:3"),
        ("docker.io/library", "busybox:1.36"),
        ("docker.io/library/busybox", "busybox"),
        ("docker.io/library/busybox", "docker.io/busybox:1"),
        ("docker.io/team", "docker.io/team/tool"),
        ("docker.io/team", "team/tool@sha256:00"),
    ],
)
def test_an_image_at_an_allowed_place_or_below_it(registry: str, image: str) -> None:
    assert ImagePolicy(("other.example.com", registry)).problem(image) is None


@pytest.mark.parametrize(
    ("registry", "image"),
    [
        ("us-docker.pkg.dev/p", "us-docker.pkg.dev/p-evil/i"),
        ("us-docker.pkg.dev/p", "us-docker.pkg.dev/evil/p/i"),
        ("us-docker.pkg.dev", "us-docker.pkg.dev.evil.com/i"),
        ("us-docker.pkg.dev", "evil.com/us-docker.pkg.dev/i"),
        ("us-docker.pkg.dev", "us-docker.pkg.dev"),  # Docker Hub's library/us-docker.pkg.dev
        ("us-docker.pkg.dev", "us-docker.pkg.dev:443/i"),
        ("us-docker.pkg.dev", "us-docker.pkg.dev:1"),
        ("us-docker.pkg.dev/p/r", "us-docker.pkg.dev/p@sha256:00/r"),
        ("localhost:5000", "localhost:5000"),
        ("localhost:5000", "localhost:5001/i"),
        ("docker.io/library", "team/tool"),
        ("docker.io", "Team/tool"),  # capitals make it a registry
        ("docker.io/library/busybox", "busybox-evil"),
        ("docker.io", "gcr.io/p/i"),
    ],
)
def test_an_image_from_elsewhere(registry: str, image: str) -> None:
    problem = ImagePolicy((registry,)).problem(image)
    assert problem == f"must be an image from {registry}"


def test_no_registry_allows_no_image() -> None:
    assert ImagePolicy(()).problem("busybox") == "must be an image from nowhere: no registry is allowed"


@pytest.mark.parametrize(
    "image", ["busybox", "a/b:1", "a@sha256:00", "a" + PINNED + "0", "a" + PINNED.upper()]
)
def test_a_tag_pins_nothing(image: str) -> None:
    problem = ImagePolicy(digests=True).problem(image)
    assert problem is not None
    assert problem.startswith("must be pinned by its digest")
    assert ImagePolicy(digests=True).problem("a/b:1" + PINNED) is None


def test_both_rules_hold_together() -> None:
    policy = ImagePolicy(("gcr.io",), digests=True)
    assert policy.problem("gcr.io/p/i" + PINNED) is None
    assert policy.problem("gcr.io/p/i") is not None
    assert policy.problem("evil.io/p/i" + PINNED) is not None


def settings(**environ: str) -> Settings:
    return Settings.from_env({"GOOGLE_CLOUD_PROJECT": "p", "SPANNER_INSTANCE": "i", **environ})


def test_the_settings_are_read() -> None:
    made = settings(
        JENNAH_IMAGE_REGISTRIES='["gcr.io/p/", "localhost:5000"]', JENNAH_IMAGE_DIGESTS="required"
    )
    assert made.images == ImagePolicy(("gcr.io/p", "localhost:5000"), digests=True)
    assert settings(JENNAH_IMAGE_REGISTRIES="[]").images == ImagePolicy(())
    assert settings(JENNAH_IMAGE_REGISTRIES="", JENNAH_IMAGE_DIGESTS="").images == ImagePolicy()


@pytest.mark.parametrize(
    "value",
    [
        *(
            "gcr.io",
            "{}",
            "null",
            '"gcr.io"',
            "[1]",
            '[""]',
            '["https://gcr.io"]',
            '["gcr.io/*"]',
            '["GCR.io"]',
        ),
        *('["library"]', '["gcr.io//p"]', '["gcr.io:x"]', '["/p"]', "[" * 5000, '["gcr.io/p:tag"]'),
    ],
)
def test_a_wrong_list_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^JENNAH_IMAGE_REGISTRIES .*\.$"):
        settings(JENNAH_IMAGE_REGISTRIES=value)


@pytest.mark.parametrize("value", ["true", "1", "Required", " required"])
def test_digests_are_required_or_not(value: str) -> None:
    with pytest.raises(SettingsError, match=r'^JENNAH_IMAGE_DIGESTS must be "required" or not set'):
        settings(JENNAH_IMAGE_DIGESTS=value)


def test_a_prefix_that_is_shown_in_the_message_is_one_that_works() -> None:
    for prefix in json.loads('["docker.io/library", "us-docker.pkg.dev/my-project"]'):
        assert images_setting(json.dumps([prefix]), "").registries == (prefix,)
