"""The commands about jobs that there are: show, list, follow, read, cancel, delete."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jennah import output
from jennah.arguments import App
from jennah.job_fields import checked_id
from jennah.options import AsJson, Insecure, JobId, JobIds, Profile, TenantId, Token, Url

if TYPE_CHECKING:
    from jennah.client import ApiError, Job

_PAGE_SIZE = 100

app = App()


@app.command()
def get(
    job_id: JobId,
    *,
    tenant: TenantId = None,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Show a job and its attempts."""
    from jennah import access, render

    with access.connect(url, id_token, profile, insecure=insecure) as client:
        job = client.get_job(job_id, tenant_id=tenant)
    if as_json:
        output.print_json(job.as_json)
    else:
        output.show(render.job_details(job))


@app.command(name="list")
def list_(
    *,
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    created_after: Annotated[
        str | None,
        typer.Option(
            metavar="TIME|AGE",
            help="Only younger ones: a time such as 2026-07-01T00:00:00Z, or 30m, 12h, 7d.",
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="ID", help="For operators: whose; - for everybody's."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many at most.")] = 50,
    columns: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="What to show, e.g. job,status,detail: see docs/cli.md."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """List jobs, newest first."""
    from jennah import access, filters, job_columns

    shown = job_columns.parse(columns)
    since = filters.since(created_after)
    with access.connect(url, id_token, profile, insecure=insecure) as client:
        found = client.list_jobs(
            status=status and status.upper(),
            created_after=since,
            page_size=min(limit, _PAGE_SIZE),
            tenant_id=tenant,
        )
        jobs = list(itertools.islice(found, limit))
    if as_json:
        output.print_json([job.as_json for job in jobs])
    else:
        spare = () if columns else job_columns.SPARE
        output.show_table(lambda names: job_columns.table(jobs, names), shown, spare)
        if sys.stderr.isatty():
            _remark(len(jobs), limit, filtered=bool(status or created_after))


def _remark(count: int, limit: int, *, filtered: bool) -> None:
    """Tell who looks at it what a listing does not show."""
    if not count:
        typer.echo("No job matches." if filtered else "No jobs: 'jennah submit' makes one.", err=True)
    elif count == limit:
        typer.echo(f"There may be more than these {limit}: --limit shows them.", err=True)


@app.command()
def watch(
    job_ids: JobIds,
    *,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Follow jobs to their end; exit 0 if all COMPLETED, else 1."""
    from jennah import access

    refused: dict[str, ApiError] = {}
    with access.connect(url, id_token, profile, insecure=insecure, retry_seconds=access.PATIENT) as client:
        jobs = output.follow(client, job_ids, sys.stderr if as_json else sys.stdout, refused)
    if as_json:
        _print_jobs(job_ids, jobs, refused)
    output.exit_by_outcome(jobs, refused)


def _print_jobs(job_ids: Sequence[str], jobs: Sequence[Job], refused: Mapping[str, ApiError]) -> None:
    """Print what became of the jobs: a list, or of a single one the job itself where there is one."""
    if len(job_ids) > 1:
        output.print_json(output.jobs_json(job_ids, jobs, refused))
    elif jobs:
        output.print_json(jobs[0].as_json)


@app.command()
def history(
    job_id: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    tenant: TenantId = None,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Show a job's audit trail as a timeline: every change of its status, oldest first."""
    from jennah import access, timeline

    if follow and tenant:
        raise typer.BadParameter("goes without --tenant: only your own jobs can be followed", param_hint="-f")
    with access.connect(url, id_token, profile, insecure=insecure, retry_seconds=access.PATIENT) as client:
        if follow:
            for transition in client.follow_transitions(job_id):
                if as_json:
                    output.print_json_line(transition.as_json)
                else:
                    output.show(timeline.line(transition))
            return
        transitions = list(client.list_transitions(job_id, tenant_id=tenant))
    if as_json:
        output.print_json([transition.as_json for transition in transitions])
    else:
        output.show_table(lambda names: timeline.table(transitions, names), timeline.ALL, timeline.SPARE)


@app.command()
def logs(
    job_id: JobId,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job, or the attempt asked for, ends.")
    ] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; else the current one.")] = None,
    task: Annotated[int, typer.Option(min=0, help="The index of the task, of an array job.")] = 0,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Begin each line with its time and stream.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one entry on each line.")] = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Print what a job has written, stdout and stderr."""
    from jennah import access, render

    patience = access.PATIENT if follow else access.QUICK
    with access.connect(url, id_token, profile, insecure=insecure, retry_seconds=patience) as client:
        read = client.follow_logs if follow else client.read_logs
        for entry in read(job_id, attempt=attempt, task=task):
            if as_json:
                output.print_json_line(entry.as_json)
            else:
                line = render.log_line(entry, timestamps=timestamps, safe=sys.stdout.isatty())
                sys.stdout.write(line + "\n")  # echo would take colours out of a pipe
                sys.stdout.flush()


@app.command()
def cancel(
    job_ids: JobIds,
    *,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Cancel jobs; it fails where one has ended otherwise."""
    from jennah import access
    from jennah.client import ApiError

    cancelled: list[Job] = []
    refused: dict[str, ApiError] = {}
    with access.connect(url, id_token, profile, insecure=insecure) as client:
        for job_id in dict.fromkeys(map(checked_id, job_ids)):
            try:
                job = client.cancel_job(job_id)
            except ApiError as error:
                if not access.is_about_one_job(error):
                    raise
                refused[job_id] = error
                output.tell_refused({job_id: error})
                continue
            cancelled.append(job)
            if not as_json:
                typer.echo(f"{job.job_id} {job.status}")
    if as_json:
        _print_jobs(job_ids, cancelled, refused)
    if refused:
        raise typer.Exit(output.REFUSED)


@app.command()
def delete(
    job_ids: JobIds,
    *,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Delete jobs that have ended, with their audit trails; it fails where one can't be."""
    from jennah import access
    from jennah.client import ApiError

    deleted: list[str] = []
    refused: dict[str, ApiError] = {}
    try:
        with access.connect(url, id_token, profile, insecure=insecure) as client:
            left = list(dict.fromkeys(map(checked_id, job_ids)))
            while left:
                before = len(deleted)
                for job_id in left:
                    try:
                        client.delete_job(job_id)
                    except ApiError as error:
                        if not access.is_about_one_job(error):
                            raise
                        refused[job_id] = error
                        continue
                    refused.pop(job_id, None)
                    deleted.append(job_id)
                    if not as_json:
                        typer.echo(f"{job_id} deleted")
                # The first of a batch goes after the others.
                waiting = [job_id for job_id, error in refused.items() if error.status == 409]
                left = waiting if len(deleted) > before else []
    finally:
        if as_json:
            why = [{"job_id": job_id} | output.refusal_json(error) for job_id, error in refused.items()]
            output.print_json({"deleted": deleted, "refused": why})
        output.tell_refused(refused)
    if refused:
        raise typer.Exit(output.REFUSED)
