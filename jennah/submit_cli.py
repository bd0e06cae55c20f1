"""The commands that make jobs: submit, batch, retry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jennah import output, submit_options
from jennah.arguments import App, words_after_dashes
from jennah.options import AsJson, Insecure, JobId, Profile, Token, Url

if TYPE_CHECKING:
    from jennah.client import ApiError, Client, Job

Wait = Annotated[bool, typer.Option("--wait", help="Follow to the end; exit 0 if all COMPLETED, else 1.")]

app = App()


@app.command(context_settings={"help_option_names": ["--help"]})  # the job's own command may take -h
def submit(
    context: typer.Context,
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="The container image; --file may name it.", show_default=False),
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Its argv, after --; none runs the file's, or the image's own.",
            show_default=False,
        ),
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="The request in YAML or JSON, - for stdin; what options say goes before.",
        ),
    ] = None,
    name: submit_options.Name = None,
    entrypoint: submit_options.Entrypoint = None,
    env: submit_options.Env = None,
    secret_env: submit_options.SecretEnv = None,
    label: submit_options.Label = None,
    mount: submit_options.Mount = None,
    timeout: submit_options.Timeout = None,
    priority: submit_options.Priority = None,
    tasks: submit_options.Tasks = None,
    parallelism: submit_options.Parallelism = None,
    idempotency_key: submit_options.IdempotencyKey = None,
    size: submit_options.Size = None,
    cpu_milli: submit_options.CpuMilli = None,
    memory_mib: submit_options.MemoryMib = None,
    machine_type: submit_options.MachineType = None,
    gpus: submit_options.Gpus = None,
    boot_disk: submit_options.BootDisk = None,
    provisioning: submit_options.Provisioning = None,
    max_retries: submit_options.MaxRetries = None,
    max_infrastructure_retries: submit_options.MaxInfrastructureRetries = None,
    retry_delay: submit_options.RetryDelay = None,
    retry_factor: submit_options.RetryFactor = None,
    retry_max_delay: submit_options.RetryMaxDelay = None,
    fail_on: submit_options.FailOn = None,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Submit a job and print its id."""
    from jennah import access, request_files

    if file:
        image, command = _file_words(image, command or [], words_after_dashes(context))
    asked = submit_options.given(
        image_uri=image,
        commands=command or None,
        name=name,
        entrypoint=entrypoint,
        env=submit_options.pairs(env, "--env"),
        secret_env=submit_options.pairs(secret_env, "--secret-env"),
        labels=submit_options.pairs(label, "--label"),
        mounts=submit_options.mounts(mount),
        timeout_seconds=timeout,
        priority=priority,
        task_count=tasks,
        parallelism=parallelism,
        profile=size,
        resources=submit_options.given(cpu_milli=cpu_milli, memory_mib=memory_mib) or None,
        machine_type=machine_type,
        gpus=submit_options.gpus(gpus),
        boot_disk_gib=boot_disk,
        provisioning=provisioning,
        max_retries=max_retries,
        retry=submit_options.retry_policy(
            delay=retry_delay,
            factor=retry_factor,
            max_delay=retry_max_delay,
            fail_on=fail_on or (),
            max_infrastructure_retries=max_infrastructure_retries,
        )
        or None,
    )
    request = submit_options.merged(request_files.one(file), asked) if file else asked
    if "image_uri" not in request:
        raise typer.BadParameter("there is none: give one, or a --file that names it", param_hint="IMAGE")
    with access.connect(
        url, id_token, profile, insecure=insecure, retry_seconds=access.PATIENT if wait else access.QUICK
    ) as client:
        with _outcome_told():
            job = client.submit_request(request, idempotency_key=idempotency_key)
        _finish(client, [job], wait=wait, as_json=as_json, listed=False)


@app.command()
def batch(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A list of requests, in YAML or JSON; - for stdin.", show_default=False
        ),
    ],
    *,
    idempotency_key: submit_options.IdempotencyKey = None,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Submit up to 100 jobs from a file, all or none, and print their ids."""
    from jennah import access, request_files

    requests = request_files.many(file)
    with access.connect(
        url, id_token, profile, insecure=insecure, retry_seconds=access.PATIENT if wait else access.QUICK
    ) as client:
        with _outcome_told():
            jobs = client.submit_jobs(requests, idempotency_key=idempotency_key)
        _finish(client, jobs, wait=wait, as_json=as_json, listed=True)


@app.command()
def retry(
    job_id: JobId,
    *,
    idempotency_key: submit_options.IdempotencyKey = None,
    wait: Wait = False,
    as_json: AsJson = False,
    url: Url = None,
    id_token: Token = None,
    profile: Profile = None,
    insecure: Insecure = False,
) -> None:
    """Submit a job that FAILED or was CANCELLED again, as a new one, and print its id."""
    from jennah import access

    with access.connect(
        url, id_token, profile, insecure=insecure, retry_seconds=access.PATIENT if wait else access.QUICK
    ) as client:
        with _outcome_told():
            job = client.retry_job(job_id, idempotency_key=idempotency_key)
        _finish(client, [job], wait=wait, as_json=as_json, listed=False)


@contextmanager
def _outcome_told() -> Iterator[None]:
    """Tell who interrupts a submission that it may have arrived."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("It may have been submitted all the same: 'jennah list' tells.", err=True)
        raise


def _file_words(image: str | None, command: list[str], after: int | None) -> tuple[str | None, list[str]]:
    """Image and command where a file may name the image: what stands after `--` is the command's."""
    words = command if image is None else [image, *command]
    before = len(words) - (after or 0)
    return (words[0], words[1:]) if before else (None, words)


def _finish(client: Client, jobs: list[Job], *, wait: bool, as_json: bool, listed: bool) -> None:
    """Print what was submitted, and follow it if that is asked for."""
    ids = [job.job_id for job in jobs]
    refused: dict[str, ApiError] = {}
    if not as_json:
        typer.echo("\n".join(ids))
    try:
        if wait:
            jobs = output.follow(client, ids, sys.stderr, refused)
        elif sys.stderr.isatty() and not as_json:
            typer.echo(f"Follow {'them' if listed else 'it'} with: jennah watch {' '.join(ids)}", err=True)
    finally:
        # Also where they can't be followed: they are submitted, and only their ids lead to them.
        if as_json:
            shown = output.jobs_json(ids, jobs, refused)
            output.print_json(shown if listed else shown[0])
    if wait:
        output.exit_by_outcome(jobs, refused)
