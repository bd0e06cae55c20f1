"""The SQL files under schema/: splitting them into statements, and what each statement leaves behind.

A migration may stop between any two statements, and two may run side by side, so that every statement must
be recognisable as already done. DDL is recognised by the object that it makes; DML must be written so that it
finds nothing left to do.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | \#[^\n]* | /\*.*?\*/ )
    | (?P<quoted>  [rR]?\"{3}(?:\\.|.)*?\"{3} | [rR]?'{3}(?:\\.|.)*?'{3}
                 | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `[^`\n]*` )
    | (?P<end>     ; )
    | (?P<space>   \s+ )
    | (?P<other>   . )
    """,
    re.DOTALL | re.VERBOSE,
)

_NAME = r"`?(\w+)`?"
_EFFECTS = (
    ("table", re.compile(rf"CREATE TABLE {_NAME}\b")),
    ("index", re.compile(rf"CREATE (?:UNIQUE )?(?:NULL_FILTERED )?INDEX {_NAME} ON {_NAME}\b")),
    ("column", re.compile(rf"ALTER TABLE {_NAME} ADD COLUMN {_NAME}\b")),
    ("check", re.compile(rf"ALTER TABLE {_NAME} ADD CONSTRAINT {_NAME} CHECK\b")),
)


class SchemaError(Exception):
    """The schema can't be read, compared or migrated. The message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a DDL statement leaves in the database: a table, or an index, column or check of one."""

    kind: Literal["table", "index", "column", "check"]
    table: str
    name: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement without comments and without its semicolon; DML has no `effect`."""

    sql: str
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `schema/migrations/{version:04}_{name}.sql`.

    The checksum (SHA-256, hex) is over the statements, so that comments and layout may be mended later.
    """

    version: int
    name: str
    statements: tuple[Statement, ...]

    @property
    def checksum(self) -> str:
        """What the database keeps of the file, to notice that an applied one was changed."""
        text = "\n;\n".join(statement.sql for statement in self.statements)
        return hashlib.sha256(text.encode()).hexdigest()


def schema_directory() -> Path:
    """The folder schema/ of this checkout.

    Raises:
        SchemaError: there is none; the package was installed without the repository.
    """
    directory = Path(__file__).parents[2] / "schema"
    if not (directory / "schema.sql").is_file():
        raise SchemaError(f"There is no {directory}: run this command from a checkout of Jennah.")
    return directory


def split(script: str) -> list[str]:
    """Split a GoogleSQL script at its semicolons, without comments, each run of blanks made one space.

    What stands in quotes is left alone. Spanner takes neither comments nor a closing semicolon in DDL.
    """
    statements: list[str] = []
    current: list[str] = []
    for token in _TOKEN.finditer(script):
        match token.lastgroup:
            case "end":
                statements.append("".join(current).strip())
                current.clear()
            case "comment" | "space":
                if current and current[-1] != " ":
                    current.append(" ")
            case _:
                current.append(token.group())
    statements.append("".join(current).strip())
    return [statement for statement in statements if statement]


def parse(sql: str) -> Statement:
    """Recognise one statement.

    Raises:
        SchemaError: it has none of the forms that a migration may have.
    """
    if re.match(r"(?:UPDATE|DELETE)\b", sql, re.IGNORECASE):
        return Statement(sql, None)
    for kind, form in _EFFECTS:
        found = form.match(sql)
        if found is None:
            continue
        match kind:
            case "table":
                return Statement(sql, Effect("table", found[1], found[1]))
            case "index":
                return Statement(sql, Effect("index", found[2], found[1]))
            case "column":
                return Statement(sql, Effect("column", found[1], found[2]))
            case _:
                return Statement(sql, Effect("check", found[1], found[2]))
    raise SchemaError(
        "A migration may hold CREATE TABLE, CREATE INDEX, ADD COLUMN, ADD CONSTRAINT … CHECK, UPDATE and "
        f"DELETE, whose effect can be recognised after a crash, and not: {sql[:60]}"
    )


def read_migrations(directory: Path) -> tuple[Migration, ...]:
    """Read `directory`/migrations, in the order of their numbers.

    Raises:
        SchemaError: a file's name or a statement has an unknown form, or a number is missing or used twice.
    """
    migrations = []
    for path in sorted((directory / "migrations").glob("*.sql")):
        name = re.fullmatch(r"(\d{4})_(\w+)", path.stem)
        if name is None:
            raise SchemaError(f"{path.name} must be named like 0001_initial.sql.")
        statements = tuple(parse(sql) for sql in split(path.read_text(encoding="utf-8")))
        migrations.append(Migration(int(name[1]), name[2], statements))
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise SchemaError(f"The files in {directory / 'migrations'} must be numbered from 0001 without gaps.")
    return tuple(migrations)
