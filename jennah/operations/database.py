"""The operator's way to the database, with a sentence for each way in which it may be closed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import spanner
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.instance import Instance

from jennah.operations.reach import (
    Unreachable,
    is_about_credentials,
    no_credentials,
    one_line,
    unanswered,
)
from jennah.operations.sql import SchemaError
from jennah.output import MISUSED, REFUSED, UNREACHABLE, CommandFailed
from shared.config import Settings
from shared.errors import SettingsError


@contextmanager
def one_sentence() -> Iterator[None]:
    """Let a command end with the sentence of what went wrong with the settings or the database.

    Raises:
        CommandFailed: instead of SettingsError, Unreachable and SchemaError.
    """
    try:
        yield
    except SettingsError as error:
        raise CommandFailed(str(error), MISUSED) from error
    except Unreachable as error:
        raise CommandFailed(str(error), UNREACHABLE) from error
    except SchemaError as error:
        raise CommandFailed(str(error), REFUSED) from error


@contextmanager
def opened(
    settings: Settings, *, create: bool = False, role: str = "roles/spanner.databaseAdmin"
) -> Iterator[Database]:
    """The settings' database, looked up; with `create` it is made, empty, where there is none.

    `role` is named to an operator whose account may not do what is done with it.

    Raises:
        Unreachable: Spanner does not answer or does not let us in, also later while it is used.
        SettingsError: there is no such instance or database.
        SchemaError: Spanner refuses what is done.
        google.api_core.exceptions.NotFound: what is done needs a table that is not there.
    """
    if settings.spanner_emulator_host:
        # FACTS of emulator 1.5.28: multiplexed sessions break read-write transactions that run side by side.
        os.environ["GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW"] = "false"
        if problem := unanswered("SPANNER_EMULATOR_HOST", settings.spanner_emulator_host):
            raise Unreachable(problem)
    try:
        client = spanner.Client(project=settings.project)
        instance = client.instance(settings.spanner_instance)
        yield _database(settings, instance, create=create)
    except (GoogleAuthError, exceptions.Unauthenticated) as error:
        raise no_credentials(error) from error
    except exceptions.PermissionDenied as error:
        raise Unreachable(f"Your account may not do this ({error.message}): it needs {role}.") from error
    except (exceptions.ServerError, exceptions.TooManyRequests, exceptions.RetryError) as error:
        if is_about_credentials(error):
            raise no_credentials(error) from error
        raise Unreachable(
            f"Spanner does not answer ({one_line(error)}): try again, every step can be repeated."
        ) from error
    except exceptions.NotFound:
        raise  # of a table: the command knows what that means
    except exceptions.ClientError as error:
        raise SchemaError(f"Spanner refuses it ({one_line(error)}).") from error


def _database(settings: Settings, instance: Instance, *, create: bool) -> Database:
    where = f"project {settings.project}"
    name = settings.spanner_database
    if not instance.exists():
        raise SettingsError(
            f"There is no Spanner instance {settings.spanner_instance!r} in {where}: set SPANNER_INSTANCE, "
            "or make it with `gcloud spanner instances create`."
        )
    database = instance.database(name)
    if database.exists():
        return database
    if not create:
        raise SettingsError(
            f"There is no database {name!r} in the instance {settings.spanner_instance!r} of {where}: set "
            "SPANNER_DATABASE, or make it with `jennah migrate --create`."
        )
    try:
        database.create().result()
    except exceptions.AlreadyExists:
        return database  # made by another migration beside this one
    return database
