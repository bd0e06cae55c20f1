"""The commands about one's tenant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from jennah import output
from jennah.arguments import App
from jennah.options import AsJson, Insecure, Profile, Token, Url

_NONE_YET = "you have no tenant on this server yet: your first 'jennah submit' makes it"

app = App(help="Who you are on a server.", no_args_is_help=True)


@app.command(name="show")
def show(
    *,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Show your tenant and its limits."""
    from jennah import access, render

    with access.connect(url, id_token, profile, insecure=insecure) as client:
        found = client.find_tenant()
        if found is None:
            raise output.CommandFailed(_NONE_YET, output.REFUSED)
    if as_json:
        output.print_json(found.as_json)
    else:
        output.show(render.tenant_details(found))


@app.command(name="delete")
def delete(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Delete your tenant with all its jobs: those that live are cancelled, no new ones are taken."""
    from jennah import access
    from jennah.client import ApiError

    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                "is needed where nobody can be asked: all jobs go too", param_hint="--yes"
            )
        if not typer.confirm("Delete your tenant with all its jobs?", err=True):
            raise output.CommandFailed("nothing was deleted", output.REFUSED)
    with access.connect(url, id_token, profile, insecure=insecure) as client:
        found = client.find_tenant()
        try:
            deleted = found and (client.delete_tenant() or found)
        except ApiError as error:
            if error.code != "NOT_FOUND":
                raise
            deleted = None  # somebody else was faster
        if deleted is None:
            raise output.CommandFailed(_NONE_YET, output.REFUSED)
    if as_json:
        output.print_json(deleted.as_json)
    else:
        typer.echo(f"{deleted.tenant_id} is being deleted")
