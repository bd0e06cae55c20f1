"""What the local cloud consists of: for each service the command, the environment and the address."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from jennah.local import emulators
from jennah.local.issuer import DEFAULT_AUDIENCE, issuer_settings
from jennah.local.processes import LocalCloudError, free_port

FUNCTIONS: Final[Mapping[str, str]] = {
    "submission": "submit",
    "scheduling": "schedule",
    "notification": "notify",
    "reconciliation": "reconcile",
}
"""Every function, named like its file in functions/, and its target."""

PUSHED_TO: Final[Mapping[str, str]] = {
    "jobs": "scheduling",
    "batch-events": "notification",
    "ticks": "reconciliation",
}
"""Every topic, and the function that its subscription pushes to."""

CHECKOUT: Final = Path(__file__).parents[2]
"""What holds functions/ and schema/, which are no part of an installed package."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the functions run from: the folder that holds functions/, and what runs functions-framework."""

    folder: Path
    framework: Sequence[str]


FROM_CHECKOUT: Final = Installation(CHECKOUT, (sys.executable, "-m", "functions_framework"))

SERVICES: Final = ("spanner", "pubsub", "batch", "issuer", *FUNCTIONS)

# What a child sees of the supervisor's environment: no credentials, no proxy, nobody else's emulators.
_INHERITED: Final = (
    "DOCKER_HOST",
    "HOME",
    "JAVA_HOME",
    "JENNAH_BATCH_RUNNER",
    "LANG",
    "LC_ALL",
    "PATH",
    "TMPDIR",
    "TZ",
)

# Production's times (`shared.config.Timing`) in the small.
_TIMING: Final = {
    "JENNAH_TICK_SECONDS": "1",
    "JENNAH_PENDING_CHECK_SECONDS": "5",
    "JENNAH_PENDING_CHECK_LIMIT_SECONDS": "30",
    "JENNAH_LIVE_CHECK_SECONDS": "5",
    "JENNAH_LIVE_CHECK_LIMIT_SECONDS": "30",
    "JENNAH_UNCONFIRMED_CHECK_SECONDS": "1",
    "JENNAH_RETRY_BASE_SECONDS": "0.5",
    # The emulator pushes in rounds: one call that waits holds up every message of its topic.
    "JENNAH_CREATE_DEADLINE_SECONDS": "3",
    "JENNAH_SETTLE_MARGIN_SECONDS": "30",
    "JENNAH_DELETE_AGE_SECONDS": "0.001",
    "JENNAH_LOG_PAUSE_SECONDS": "1",  # no quota of Cloud Logging must be kept here
    "JENNAH_LOG_SPACING_SECONDS": "0.001",
    "JENNAH_LOG_DELAY_SECONDS": "0.001",  # a task's log is complete when its end is known
}


def require_checkout() -> None:
    """Refuse an installed package.

    Raises:
        LocalCloudError: this is one.
    """
    if not (CHECKOUT / "schema" / "schema.sql").is_file():
        raise LocalCloudError(
            "The local cloud needs a checkout of Jennah, and this is an installed package without one: "
            "run `make up` or `make demo` in a clone."
        )


@dataclass(frozen=True, slots=True)
class Services:
    """One choice of ports for everything.

    Attributes:
        folder: where the services keep their files.
        port: the API's.
        settings: environment of the children, over what is set here.
        installation: where the functions run from.
    """

    folder: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    installation: Installation = FROM_CHECKOUT
    spanner_rest_port: int = field(default_factory=free_port)
    _free: Mapping[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})

    def port_of(self, name: str) -> int:
        """Where a service listens on 127.0.0.1."""
        return self.port if name == "submission" else self._free[name]

    @property
    def exported(self) -> dict[str, str]:
        """The environment that leads a client to this cloud, and makes a function part of it."""
        return {
            "JENNAH_URL": f"http://127.0.0.1:{self.port}",
            "JENNAH_ISSUER_URL": self._issuer_url,
            "JENNAH_AUDIENCE": DEFAULT_AUDIENCE,
            "JENNAH_BATCH_DIRECTORY": str(self.folder / "batch"),
            "GOOGLE_CLOUD_PROJECT": "jennah-local",
            "SPANNER_INSTANCE": "jennah",
            "SPANNER_DATABASE": "main",
            "SPANNER_EMULATOR_HOST": self._host("spanner"),
            "SPANNER_EMULATOR_REST": f"http://127.0.0.1:{self.spanner_rest_port}/",
            "PUBSUB_EMULATOR_HOST": self._host("pubsub"),
            "BATCH_EMULATOR_HOST": self._host("batch"),
            "LOGGING_EMULATOR_HOST": self._host("batch"),  # the local Batch service keeps its tasks' logs
            "JENNAH_DEPLOYMENT": "local",
            "JENNAH_OIDC_ISSUERS": issuer_settings(self._issuer_url),
            "JENNAH_ADMIT": "everyone",
            **_TIMING,
            **self.settings,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of every child but the emulators."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            # Where a developer wants traces sent is told by OpenTelemetry's own settings.
            if name in _INHERITED or name.startswith("OTEL_")
        }
        # CLOUDSDK_CONFIG is where a user's own credentials would be found.
        return {**inherited, "CLOUDSDK_CONFIG": str(self.folder / "gcloud"), **self.exported}

    def environment_of(self, name: str) -> dict[str, str]:
        """The whole environment of a service."""
        return emulators.pubsub_environment(self.environment) if name == "pubsub" else self.environment

    def command_of(self, name: str) -> list[str]:
        """What runs a service.

        Raises:
            LocalCloudError: it is an emulator that is not installed.
        """
        port = self.port_of(name)
        if name == "spanner":
            return emulators.spanner_command(port, self.spanner_rest_port)
        if name == "pubsub":
            return emulators.pubsub_command(port)
        if name in FUNCTIONS:
            source = self.installation.folder / "functions" / f"{name}.py"
            framework = [*self.installation.framework, "--host=127.0.0.1", f"--port={port}"]
            return [*framework, f"--source={source}", f"--target={FUNCTIONS[name]}"]
        module = {"batch": "jennah.local.batch_service", "issuer": "jennah.local.issuer"}[name]
        return [sys.executable, "-m", module, f"--port={port}", f"--directory={self.folder / name}"]

    @property
    def _issuer_url(self) -> str:
        return f"http://{self._host('issuer')}"

    def _host(self, name: str) -> str:
        return f"127.0.0.1:{self.port_of(name)}"
