"""The command line. Tenants' commands speak HTTP only; operators' and local ones load when they are called.

Whatever a command needs is imported when it runs, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

try:
    import typer
except KeyboardInterrupt:  # takes long enough for a Ctrl-C to come meanwhile
    sys.exit(130)

from jennah import jobs_cli, operator_cli, output, profiles_cli, submit_cli, tenant_cli
from jennah.arguments import App

_LOCAL = "The local cloud"
_READER_LEFT = 141  # as a shell shows what SIGPIPE ended: neither done nor refused
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

app = App(
    name="jennah",
    help="Run container jobs on Google Cloud Batch: submit, watch and audit them.",
    epilog="Exit codes: 0 done, 1 refused or the job did not complete, 2 wrong usage, "
    "3 the server can't be reached or does not let you in, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(submit_cli.app)
app.add_typer(jobs_cli.app)
app.add_typer(tenant_cli.app, name="tenant", rich_help_panel=profiles_cli.PANEL)
app.add_typer(profiles_cli.app)
app.add_typer(operator_cli.app)


def main() -> NoReturn:
    """Run the command that the arguments name, and exit."""
    _prepare_streams()
    try:
        result = app(prog_name="jennah", standalone_mode=False)
    except typer.TyperException as error:
        if message := error.format_message():
            from jennah.render import printable

            sentence = printable(message).rstrip(".")
            end = "" if sentence.endswith("?") else "."
            typer.echo(f"jennah: {sentence}{end}{_next_step(error)}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as end:  # what Typer and Rich make of a reader that left
        sys.exit(_READER_LEFT if isinstance(end.__context__, BrokenPipeError) else end.code)
    except (KeyboardInterrupt, typer.Abort):  # the latter where a question was not answered
        sys.exit(130)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        output.discard()
        typer.echo(f"jennah: cannot write: {error.strerror}; free some room, or write elsewhere.", err=True)
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


@app.command(rich_help_panel=_LOCAL)
def up(
    port: Annotated[
        int, typer.Option(envvar="JENNAH_PORT", min=1, max=65_535, help="Where the API is served.")
    ] = 8080,
) -> None:
    """Run the whole platform on this machine, until Ctrl-C."""
    from jennah.local.cloud import up as run

    raise typer.Exit(run(port))


@app.command(rich_help_panel=_LOCAL)
def demo() -> None:
    """Start a local cloud, run real jobs through their whole life, and check what must hold."""
    from jennah.local.demo import run

    raise typer.Exit(run(sys.stdout))


def _prepare_streams() -> None:
    """Let there be streams that take any text."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # whoever started this closed it
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


_last = App()


@_last.command()
def version() -> None:
    """Print the version."""
    from importlib import metadata

    typer.echo(f"jennah {metadata.version('jennah')}")


app.add_typer(_last)


def _print_version(value: bool) -> None:
    if value:
        version()
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def _next_step(error: typer.TyperException) -> str:
    """Where to read on after a wrong option or argument; other errors name the next step themselves."""
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    step = f" See '{context.command_path} --help'."
    own_option = context.info_name == "submit" and hasattr(error, "option_name")
    return f" Put '--' before the job's own command.{step}" if own_option else step
