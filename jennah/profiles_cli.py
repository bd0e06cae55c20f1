"""The commands about servers and logins: login, profiles, token."""

from __future__ import annotations

from typing import Annotated

import typer

from jennah import output
from jennah.arguments import App
from jennah.options import AsJson, Insecure, Profile

PANEL = "Servers and logins"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile.", show_default=False)]

app = App()
profiles = App(help="The servers that you use, and how to log in to each.", no_args_is_help=True)
app.add_typer(profiles, name="profiles", rich_help_panel=PANEL)


@app.command(rich_help_panel=PANEL)
def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server.", show_default=False)],
    *,
    name: Annotated[str, typer.Option("--profile", metavar="NAME", help="How to call it.")] = "default",
    audience: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The server's audience: gcloud gives ID tokens for it."),
    ] = None,
    impersonate: Annotated[
        str | None,
        typer.Option(
            metavar="ACCOUNT", help="The service account that gcloud's tokens are of; else its own."
        ),
    ] = None,
    token_command: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="What prints an ID token, instead of gcloud.")
    ] = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Try a server and a way to log in to it, and save them as a profile. No token is kept."""
    from jennah import access
    from jennah.profiles import Profile as Saved
    from jennah.profiles import Profiles

    with access.failures(url):
        profile = Saved(
            url=url,
            audience=audience,
            impersonate=impersonate,
            token_command=token_command,
            insecure=insecure,
        )
        known = Profiles.load()
    with access.connect_to(url, profile, insecure=insecure) as client:
        tenant = client.find_tenant()
    with access.failures(url):
        known.by_name[name], known.default = profile, name
        known.save()
    if as_json:
        output.print_json({"profile": name, "url": url, "tenant": tenant and tenant.as_json})
        return
    who = (
        f"as {tenant.email or tenant.subject}, tenant {tenant.tenant_id}" if tenant else "with no tenant yet"
    )
    typer.echo(f"Logged in to {url} {who}; commands use the profile {name!r} now.")


@app.command(rich_help_panel=PANEL)
def token(
    context: typer.Context,
    email: Annotated[
        str | None, typer.Option("--email", envvar="JENNAH_EMAIL", help="Who a local token is for.")
    ] = None,
    profile: Profile = None,
) -> None:
    """Print an ID token: the profile's, or one of the local cloud's test issuer, which knows everybody."""
    from jennah import access

    given = {
        name
        for name in ("email", "profile")
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    typer.echo(access.token(email, profile, options=given))


@profiles.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List the profiles; the one that commands use where nothing else is named has a star."""
    from dataclasses import asdict

    from jennah import access, render
    from jennah.profiles import Profiles

    with access.failures(""):
        known = Profiles.load()
    if as_json:
        shown = {
            name: asdict(profile) | {"token_command": profile.token_program}
            for name, profile in known.by_name.items()
        }
        output.print_json({"default": known.default, "profiles": shown})
        return
    table = render.table("", "PROFILE", "URL", "LOGIN")
    for name, profile in known.by_name.items():
        how = profile.token_program or profile.impersonate or ("gcloud" if profile.audience else None)
        star = "*" if name == known.default else ""
        table.add_row(star, render.text(name), render.text(profile.url), render.text(how))
    output.show(table)


@profiles.command()
def use(name: Name) -> None:
    """Let commands use this profile where nothing else is named."""
    from jennah import access
    from jennah.profiles import Profiles

    with access.failures(""):
        known = Profiles.load()
        known.find(name)
        known.default = name
        known.save()


@profiles.command()
def remove(name: Name) -> None:
    """Forget a profile."""
    from jennah import access
    from jennah.profiles import Profiles

    with access.failures(""):
        known = Profiles.load()
        known.find(name)
        del known.by_name[name]
        known.default = None if known.default == name else known.default
        known.save()
