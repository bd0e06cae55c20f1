"""The operator's command `jennah doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Final

from rich.table import Table
from rich.text import Text

from jennah.operations import doctor_services as services
from jennah.operations import doctor_settings, doctor_topics
from jennah.operations.doctor import Check, Deployment, Finding, Service, Verdict, examine, exit_code
from jennah.operations.doctor_access import access_checks
from jennah.output import MISUSED, REFUSED, UNREACHABLE, CommandFailed, print_json
from jennah.render import console_on, printable, show
from shared.config import Settings
from shared.errors import SettingsError

_CODES: Final = {Verdict.TO_FIX: REFUSED, Verdict.UNREACHABLE: UNREACHABLE}
_STYLES: Final = {Verdict.WELL: "green", Verdict.TO_FIX: "red", Verdict.UNREACHABLE: "yellow"}


def doctor(*, ticks_topic: str, as_json: bool) -> None:
    """Look at everything that the platform stands on, and print what to fix.

    Raises:
        CommandFailed: something is to be fixed (1), a setting is wrong (2), something can't be reached (3).
    """
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        raise CommandFailed(str(error), MISUSED) from error
    deployment = Deployment(
        settings,
        ticks_topic,
        pubsub_emulator_host=os.environ.get("PUBSUB_EMULATOR_HOST"),
        url=(os.environ.get("JENNAH_URL") or "").rstrip("/") or None,
    )
    findings = examine(_checks(deployment))
    code = exit_code(findings, _CODES)
    if as_json:
        print_json({"well": code == 0, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if code:
        wrong = sum(finding.verdict in _CODES for finding in findings)
        done = "needs something: do" if wrong == 1 else "need something: do"
        raise CommandFailed(f"{wrong} of {len(findings)} findings {done} what FIX says, and ask again.", code)


def _checks(deployment: Deployment) -> list[tuple[str, Service | None, Check]]:
    settings = deployment.settings
    pubsub, spanner = doctor_topics.pubsub(deployment), services.spanner_service(settings)
    topics: list[tuple[str, Service | None, Check]] = [
        (f"topic for {role}", pubsub, partial(doctor_topics.topic_findings, deployment, role))
        for role in doctor_topics.FUNCTIONS
    ]
    return [
        ("settings", None, partial(doctor_settings.settings_findings, deployment)),
        ("issuers", None, partial(doctor_settings.issuer_findings, settings)),
        ("API", None, partial(doctor_settings.api_findings, deployment)),
        ("credentials", None, partial(doctor_settings.credential_findings, deployment)),
        ("database", spanner, partial(services.database_findings, settings)),
        ("permissions on the database", spanner, partial(services.permission_findings, settings)),
        *topics,
        ("permissions on topics", pubsub, partial(doctor_topics.permission_findings, deployment)),
        *access_checks(deployment),
        ("Batch", services.batch_service(settings), partial(services.batch_findings, settings)),
        ("work", spanner, partial(services.work_findings, settings, datetime.now(UTC))),
    ]


def _print(findings: Sequence[Finding]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("CHECK", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("FOUND", overflow="fold")
    table.add_column("FIX", overflow="fold")
    for finding in findings:
        verdict = Text(finding.verdict, style=_STYLES.get(finding.verdict, ""))
        table.add_row(finding.check, verdict, printable(finding.found), printable(finding.fix))
    show(console_on(sys.stdout), table)
