"""The command line. Tenants' commands speak HTTP only; operators' and local ones load when they are called.

Whatever a command needs is imported when it runs, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO

try:
    import typer
except KeyboardInterrupt:  # takes long enough for a Ctrl-C to come meanwhile
    sys.exit(130)

from jennah import operator_cli, submit_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from jennah.client import Client, Job

_PAGE_SIZE = 100
_LOCAL = "The local cloud"
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

app = typer.Typer(
    name="jennah",
    help="Run container jobs on Google Cloud Batch: submit, watch and audit them.",
    epilog="Exit codes: 0 done, 1 refused or the job did not complete, 2 wrong usage, "
    "3 the server can't be reached or does not accept the token, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(operator_cli.app)

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="JENNAH_URL", help="The server; without it the local cloud."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="JENNAH_TOKEN",
        help="An OpenID Connect ID token; the local cloud gives one by itself.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", show_default=False)]


def main() -> NoReturn:
    """Run the command that the arguments name, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = app(prog_name="jennah", standalone_mode=False)
    except typer.TyperException as error:
        if message := error.format_message():
            typer.echo(f"jennah: {message.rstrip('.')}.{_next_step(error)}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _discard_output()
        typer.echo(f"jennah: cannot write: {error.strerror}; free some room, or write elsewhere.", err=True)
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)


@app.command(rich_help_panel=_LOCAL)
def token(
    email: Annotated[str, typer.Option("--email", envvar="JENNAH_EMAIL", help="Who the token is for.")],
) -> None:
    """Print an ID token of the local cloud's test issuer, which knows everybody."""
    from jennah import access

    typer.echo(access.test_token(email, None))


@app.command()
def submit(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The container image.", show_default=False)],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND", help="Its argv, after --; none runs the image's own.", show_default=False
        ),
    ] = None,
    *,
    name: submit_options.Name = None,
    env: submit_options.Env = None,
    timeout: submit_options.Timeout = None,
    idempotency_key: submit_options.IdempotencyKey = None,
    max_retries: submit_options.MaxRetries = None,
    max_infrastructure_retries: submit_options.MaxInfrastructureRetries = None,
    retry_delay: submit_options.RetryDelay = None,
    retry_factor: submit_options.RetryFactor = None,
    retry_max_delay: submit_options.RetryMaxDelay = None,
    fail_on: submit_options.FailOn = None,
    provisioning: submit_options.Provisioning = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it; exit 0 if it COMPLETED, else 1.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
) -> None:
    """Submit a job and print its id."""
    from jennah import access

    variables = submit_options.environment(env or ())
    retry = submit_options.retry_policy(
        delay=retry_delay,
        factor=retry_factor,
        max_delay=retry_max_delay,
        fail_on=fail_on or (),
        max_infrastructure_retries=max_infrastructure_retries,
    )
    with access.connect(url, id_token, retry_seconds=access.PATIENT if wait else access.QUICK) as client:
        job = client.submit_job(
            image,
            command or (),
            name=name,
            env=variables,
            max_retries=max_retries,
            retry=retry,
            provisioning=provisioning,
            timeout_seconds=timeout,
            idempotency_key=idempotency_key,
        )
        if not as_json:
            typer.echo(job.job_id)
        if wait:
            job = _follow(client, job.job_id, sys.stderr)
        elif sys.stderr.isatty() and not as_json:
            typer.echo(f"Follow it with: jennah watch {job.job_id}", err=True)
        if as_json:
            _print_json(job.as_json)
    if wait:
        _exit_by_outcome(job)


@app.command()
def get(job_id: JobId, as_json: AsJson = False, url: Url = None, id_token: Token = None) -> None:
    """Show a job and its attempts."""
    from jennah import access, render

    with access.connect(url, id_token) as client:
        job = client.get_job(job_id)
    if as_json:
        _print_json(job.as_json)
    else:
        _show(render.job_details(job))


@app.command(name="list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
) -> None:
    """List jobs, newest first."""
    from jennah import access, render

    with access.connect(url, id_token) as client:
        page = client.list_jobs(status=status and status.upper(), page_size=min(limit, _PAGE_SIZE))
        jobs = list(itertools.islice(page, limit))
    if as_json:
        _print_json([job.as_json for job in jobs])
    else:
        _show(render.jobs_table(jobs))


@app.command()
def watch(job_id: JobId, as_json: AsJson = False, url: Url = None, id_token: Token = None) -> None:
    """Follow a job to its end; exit 0 if it COMPLETED, else 1."""
    from jennah import access

    with access.connect(url, id_token, retry_seconds=access.PATIENT) as client:
        job = _follow(client, job_id, sys.stderr if as_json else sys.stdout)
    if as_json:
        _print_json(job.as_json)
    _exit_by_outcome(job)


@app.command()
def history(job_id: JobId, as_json: AsJson = False, url: Url = None, id_token: Token = None) -> None:
    """Show a job's audit trail: every change of its status, oldest first."""
    from jennah import access, render

    with access.connect(url, id_token) as client:
        transitions = list(client.list_transitions(job_id))
    if as_json:
        _print_json([transition.as_json for transition in transitions])
    else:
        _show(render.transitions_table(transitions))


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False, url: Url = None, id_token: Token = None) -> None:
    """Cancel a job."""
    from jennah import access

    with access.connect(url, id_token) as client:
        job = client.cancel_job(job_id)
    if as_json:
        _print_json(job.as_json)
    else:
        typer.echo(f"{job.job_id} {job.status}")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib import metadata

    typer.echo(f"jennah {metadata.version('jennah')}")


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


def _discard_output() -> None:
    """Let what stdout still holds go nowhere: Python would try it again at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _follow(client: Client, job_id: str, stream: TextIO) -> Job:
    from jennah import render

    try:
        return render.follow(client, job_id, render.console_on(stream))
    except KeyboardInterrupt:
        typer.echo(f"The job goes on without you: jennah watch {job_id}", err=True)
        raise


def _exit_by_outcome(job: Job) -> None:
    if job.status != "COMPLETED":
        typer.echo(f"jennah: the job ended {job.status}: 'jennah get {job.job_id}' says more.", err=True)
        raise typer.Exit(1)


def _show(part: RenderableType) -> None:
    from jennah import render

    render.show(render.console_on(sys.stdout), part)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _next_step(error: typer.TyperException) -> str:
    """Where to read on after a wrong option or argument; other errors name the next step themselves."""
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    step = f" See '{context.command_path} --help'."
    own_option = context.info_name == "submit" and hasattr(error, "option_name")
    return f" Put '--' before the job's own command.{step}" if own_option else step
