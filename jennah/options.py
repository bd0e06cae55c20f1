"""Options and arguments that many commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="JENNAH_URL", help="The server; without it the local cloud, or a profile's."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="JENNAH_TOKEN",
        help="An OpenID Connect ID token; the local cloud and profiles give one by themselves.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile", envvar="JENNAH_PROFILE", metavar="NAME", help="The server and login that 'login' saved."
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="JENNAH_INSECURE",
        help="Send the token over plain http to another machine, too.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]
JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="The jobs' ids.", show_default=False)]
TenantId = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="For operators: the tenant whose job it is.")
]
