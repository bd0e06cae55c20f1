"""Random bodies of submissions, all of them valid: for the tests of what becomes of them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from shared.api.spec import SubmitRequest
from shared.spec import FailureReason

ACCOUNT = "team-a@tenants.iam.gserviceaccount.com"

# What breaks programs that print, log or format texts, or that let them choose what is the platform's.
HOSTILE = (
    "%s%n%d{0}{__class__}${PATH}`id`$(id)",
    "\u202eevil\u2066\u200b\ufeff",
    '"}\n{"severity": "EMERGENCY", "message": "forged"}',
    "\x01\x1b[31m\r\n\t\x7f\x85\u2028\u2029",
    "'; DROP TABLE Jobs; --",
    "🙂\U0010ffff",
    "projects/evil/topics/evil",
    "evil@evil.iam.gserviceaccount.com",
    "projects/evil/global/networks/evil",
    "--network=host",
    "-v/:/host",
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
words = texts | st.sampled_from(HOSTILE)
_env_names = st.from_regex(r"(?!JENNAH_|BATCH_)[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
_reasons = st.sampled_from([reason.value for reason in FailureReason if reason.retryable])
_action = st.sampled_from(["retry", "fail"])
_rules = st.fixed_dictionaries(
    {"exit_codes": st.lists(st.integers(1, 65_535), min_size=1, max_size=3), "action": _action}
) | st.fixed_dictionaries({"reasons": st.lists(_reasons, min_size=1, max_size=3), "action": _action})
_backoffs = st.fixed_dictionaries(
    {},
    optional={
        "first_delay_seconds": st.integers(0, 86_400),
        "factor": st.integers(1, 10) | st.floats(1, 10),
        "max_delay_seconds": st.integers(0, 86_400),
    },
)
retries = st.fixed_dictionaries(
    {},
    optional={
        "backoff": st.none() | _backoffs,
        "rules": st.lists(_rules, max_size=3),
        "max_infrastructure_retries": st.integers(0, 20),
    },
)
_mounts = st.fixed_dictionaries(
    {
        "bucket": st.sampled_from(["b-1", "example.com", "a_bucket"]),
        "mount_path": st.from_regex(r"/(mnt|data)(/[A-Za-z0-9_][A-Za-z0-9._-]{0,5}){0,2}", fullmatch=True),
    },
    optional={
        "path": st.none() | st.sampled_from(["data", "a/b.c/d=1/", "@x"]),
        "read_only": st.booleans(),
    },
)
_sizes: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"profile": st.sampled_from([None, "small", "medium", "large", "xlarge"])}),
    st.fixed_dictionaries({"machine_type": st.sampled_from([None, "e2-standard-4", "a2-highgpu-1g"])}),
    st.fixed_dictionaries(
        {
            "resources": st.none()
            | st.fixed_dictionaries(
                {"cpu_milli": st.integers(250, 416_000), "memory_mib": st.integers(256, 12_058_624)}
            )
        }
    ),
)
_fields = st.fixed_dictionaries(
    {"image_uri": st.from_regex(r"[a-z0-9]{1,5}(\.[a-z]{1,3})?(/[a-z0-9]{1,4}){0,2}(:v1)?", fullmatch=True)},
    optional={
        "entrypoint": st.none() | words.filter(bool),
        "commands": st.lists(words, max_size=4),
        "name": st.none() | words.filter(bool),
        "env": st.dictionaries(_env_names, words, max_size=4),
        "secret_env": st.dictionaries(
            _env_names,
            st.sampled_from(["projects/p/secrets/s/versions/latest", "projects/1/secrets/S_-/versions/12"]),
        ),
        "max_retries": st.integers(0, 10),
        "timeout_seconds": st.integers(1, 1_209_600),
        "retry": retries,
        "provisioning": st.sampled_from(["standard", "spot", "spot_then_standard"]),
        "gpus": st.none()
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["nvidia-tesla-t4", "nvidia-l4"]), "count": st.integers(1, 16)}
        ),
        "boot_disk_gib": st.none() | st.integers(30, 65_536),
        "labels": st.dictionaries(
            st.from_regex(r"(?!jennah-|goog)[a-z][a-z0-9_-]{0,9}", fullmatch=True),
            st.from_regex(r"[a-z0-9_-]{0,9}", fullmatch=True),
            max_size=4,
        ),
        "mounts": st.lists(_mounts, max_size=3),
        "task_count": st.integers(1, 1000),
        "parallelism": st.none() | st.integers(1, 1000),
        "priority": st.integers(0, 99),
    },
)
bodies: st.SearchStrategy[dict[str, Any]] = st.builds(lambda fields, size: fields | size, _fields, _sizes)


def parse(fields: object) -> SubmitRequest:
    """The request of this body."""
    return SubmitRequest.parse(json.dumps(fields).encode())
