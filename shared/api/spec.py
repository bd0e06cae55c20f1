"""What a tenant may ask for: the body of a submission, with the job's specification."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from shared.api.machines import GpusRequest, MachineType, MountRequest, ResourcesRequest
from shared.api.retry import RetryRequest
from shared.api.shapes import WHOLE, Shape, parse
from shared.api.texts import Lacks, Matches, Names
from shared.errors import InvalidArgument
from shared.resources import DEFAULT_PROFILE, Gpus, Mount, Resources
from shared.spec import JobSpec, Provisioning

# Docker's grammar of a reference: [registry[:port]/]path[:tag][@digest].
_IMAGE = (
    r"(?:[A-Za-z0-9]+(?:(?:\.|_{1,2}|-+)[A-Za-z0-9]+)*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?"
)

# Shapes by which secrets are known whatever they are called: private keys, JSON Web Tokens, and the tokens
# and keys of services that begin theirs with what stands nowhere else.
SECRET = "|".join(
    (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"AIza[0-9A-Za-z_-]{35}",
        r"ya29\.[0-9A-Za-z_-]{20}",
        r"GOCSPX-[0-9A-Za-z_-]{20}",
        r"gh[pousr]_[0-9A-Za-z]{36}",
        r"github_pat_[0-9A-Za-z_]{22}",
        r"xox[abeoprs]-[0-9A-Za-z-]{10}",
        r"xapp-[0-9]-[0-9A-Za-z-]{10}",
        r"hooks\.slack\.com/services/[0-9A-Za-z]+/",
        r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]",
        r"\bglpat-[0-9A-Za-z_-]{20}",
        r"\bnpm_[0-9A-Za-z]{36}",
        r"\b[sr]k_live_[0-9A-Za-z]{16}",
        r"\bsk-(?:ant|proj)-[0-9A-Za-z_-]{20}",
        r"\bSG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}",
        r"\bhf_[0-9A-Za-z]{34}",
        r"\bdo[opr]_v1_[0-9a-f]{64}",
        r"\bAccountKey=[0-9A-Za-z+/]{43}",
    )
)

_no_nul = Matches(r"[^\x00]*", "must not contain NUL")
_env_names = Names(
    r"(?!JENNAH_|BATCH_)[A-Za-z_][A-Za-z0-9_]{0,127}",
    "can't name a variable: letters, digits and _ may, but JENNAH_ and BATCH_ begin names of the platform's",
)

_Word = Annotated[str, Field(max_length=16_384), _no_nul]
_EnvValue = Annotated[
    str,
    Field(max_length=32_768),
    _no_nul,
    Lacks(
        SECRET,
        "looks like a secret, and whoever may see the job would see it: "
        "keep it in Secret Manager, and name its version in secret_env",
    ),
]
_SecretVersion = Annotated[
    str,
    Field(max_length=512),
    Matches(
        r"projects/[a-z0-9:.-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/(?:latest|[1-9][0-9]*)",
        "must be a version in Secret Manager: projects/PROJECT/secrets/SECRET/versions/VERSION",
    ),
]
_LabelValue = Annotated[
    str, Matches(r"[a-z0-9_-]{0,63}", "must be at most 63 lower-case letters, digits, '-' or '_'")
]

# The fields of the first release, whose digests hold them all.
_ALWAYS_DIGESTED = {"image_uri", "commands", "name", "env", "max_retries", "timeout_seconds"}

_SIZES = ("resources", "profile", "machine_type")


def _given(*names: str) -> dict[str, Any]:
    return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}


class SubmitRequest(Shape):
    """The body of POST /v1/jobs."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"anyOf": [_given(*pair) for pair in combinations(_SIZES, 2)]}}
    )

    image_uri: Annotated[
        str,
        Field(min_length=1, max_length=1024),
        Matches(_IMAGE, "must be the reference of an image, such as busybox or us-docker.pkg.dev/p/r/i:tag"),
    ]
    entrypoint: Annotated[str, Field(min_length=1, max_length=16_384), _no_nul] | None = None
    commands: Annotated[list[_Word], Field(max_length=100)] = []
    name: Annotated[str, Field(min_length=1, max_length=100), _no_nul] | None = None
    env: Annotated[dict[str, _EnvValue], Field(max_length=100), _env_names] = {}
    secret_env: Annotated[dict[str, _SecretVersion], Field(max_length=100), _env_names] = {}
    max_retries: Annotated[int, Field(ge=0, le=10), WHOLE] = 3
    timeout_seconds: Annotated[int, Field(ge=1, le=1_209_600), WHOLE] = 3600
    retry: RetryRequest = RetryRequest()
    provisioning: Literal["standard", "spot", "spot_then_standard"] = "standard"
    resources: ResourcesRequest | None = None
    profile: Literal["small", "medium", "large", "xlarge"] | None = None
    machine_type: MachineType | None = None
    gpus: GpusRequest | None = None
    boot_disk_gib: Annotated[int, Field(ge=30, le=65_536), WHOLE] | None = None
    labels: Annotated[
        dict[str, _LabelValue],
        Field(max_length=32),
        Names(
            r"(?!jennah-|goog)[a-z][a-z0-9_-]{0,62}",
            "can't name a label: 1 to 63 of a-z, 0-9, '-' and '_' may, a letter first, "
            "but jennah- and goog begin names of the platform's",
        ),
    ] = {}
    mounts: Annotated[list[MountRequest], Field(max_length=10)] = []
    task_count: Annotated[int, Field(ge=1, le=1000), WHOLE] = 1
    parallelism: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = None
    priority: Annotated[int, Field(ge=0, le=99), WHOLE] = 0

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if sum(getattr(self, name) is not None for name in _SIZES) > 1:
            raise ValueError("must have at most one of resources, profile and machine_type")
        return self

    @classmethod
    def parse(cls, body: bytes) -> SubmitRequest:
        """Read a body.

        Raises:
            InvalidArgument: names the first field that is wrong; the first 20 stand in its details.
        """
        return parse(cls, body)

    def spec(self, service_account: str | None = None) -> JobSpec:
        """What is stored beside image, command and retries.

        Args:
            service_account: the tenant's own job account, which its operator set.

        Raises:
            InvalidArgument: something is asked for that only a tenant with an account of its own may have:
                with the platform's, every tenant could read the secrets and buckets of every other.
        """
        for field in ("secret_env", "mounts"):
            if getattr(self, field) and service_account is None:
                raise InvalidArgument.of_field(
                    field, "needs a service account of your own: ask the operator of this platform for one"
                )
        sized = self.resources is not None or self.machine_type is not None
        return JobSpec(
            name=self.name,
            env=self.env,
            timeout_seconds=self.timeout_seconds,
            retry=self.retry.policy(),
            provisioning=Provisioning(self.provisioning),
            entrypoint=self.entrypoint,
            secret_env=self.secret_env,
            profile=None if sized else self.profile or DEFAULT_PROFILE,
            resources=Resources(**self.resources.model_dump()) if self.resources else None,
            machine_type=self.machine_type,
            gpus=Gpus(**self.gpus.model_dump()) if self.gpus else None,
            boot_disk_gib=self.boot_disk_gib,
            labels=self.labels,
            mounts=tuple(Mount(**mount.model_dump()) for mount in self.mounts),
            task_count=self.task_count,
            parallelism=self.parallelism,
            priority=self.priority,
            service_account=service_account,
        )

    def digest(self) -> str:
        """Equal for requests that ask for the same, however their JSON is written; SHA-256 in hex.

        Equal across releases too: digests are stored, and a field that came later counts only where it
        differs from its default. So no default may ever change.
        """
        asked = self.model_dump(include=_ALWAYS_DIGESTED) | self.model_dump(exclude_defaults=True)
        canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
