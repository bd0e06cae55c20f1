from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jennah.operations.sql import Effect, SchemaError, parse, read_migrations, schema_directory, split

# Pieces that hide a semicolon or a comment's beginning, each of which must come out as it went in.
_QUOTED = st.sampled_from(
    [
        "'a;b'",
        '"a;b"',
        "'it\\'s; --'",
        "`a;b`",
        "'''a';\n--b'''",
        '"""a";\n#b"""',
        r"r'\d;'",
        "'/*;*/'",
        "''",
        '""',
    ]
)
_PLAIN = st.sampled_from(["SELECT", "a", "1", "(", ")", ",", "-", "/", "*", "x.y", "<>"])
_STATEMENT = st.lists(_QUOTED | _PLAIN, min_size=1, max_size=6)
_GAP = st.sampled_from([" ", "\n", "\t ", " -- a ; comment\n", " # it's ; one\n", " /* ; ' \n */ "])


@given(statements=st.lists(_STATEMENT, max_size=5), data=st.data())
def test_splits_at_semicolons_that_are_not_quoted(statements: list[list[str]], data: st.DataObject) -> None:
    script = data.draw(_GAP)
    for statement in statements:
        script += "".join(piece + data.draw(_GAP) for piece in statement) + ";" + data.draw(_GAP)
    assert split(script) == [" ".join(statement) for statement in statements]


def test_takes_a_last_statement_without_semicolon() -> None:
    assert split("a;\n-- only a comment\n;; b -- end") == ["a", "b"]


@pytest.mark.parametrize(
    ("sql", "effect"),
    [
        ("CREATE TABLE T (A INT64) PRIMARY KEY (A)", Effect("table", "T", "T")),
        ("CREATE UNIQUE NULL_FILTERED INDEX I ON T (A)", Effect("index", "T", "I")),
        ("ALTER TABLE T ADD COLUMN C INT64", Effect("column", "T", "C")),
        ("ALTER TABLE T ADD CONSTRAINT C CHECK (A > 0)", Effect("check", "T", "C")),
        ("UPDATE T SET A = 1 WHERE A IS NULL", None),
    ],
)
def test_recognises_what_a_statement_leaves(sql: str, effect: Effect | None) -> None:
    assert parse(sql).effect == effect


@pytest.mark.parametrize(
    "sql", ["DROP TABLE T", "INSERT INTO T (A) VALUES (1)", "ALTER TABLE T DROP COLUMN C"]
)
def test_refuses_what_it_could_not_recognise_after_a_crash(sql: str) -> None:
    with pytest.raises(SchemaError, match="whose effect can be recognised"):
        parse(sql)


def test_the_migrations_are_numbered_and_each_adds_something() -> None:
    migrations = read_migrations(schema_directory())
    assert [migration.name for migration in migrations[:2]] == ["initial", "batch_integration"]
    assert all(any(statement.effect for statement in migration.statements) for migration in migrations)


def test_a_comment_does_not_change_the_checksum_but_a_statement_does(tmp_path: Path) -> None:
    def checksum(script: str) -> str:
        (tmp_path / "migrations").mkdir(exist_ok=True)
        (tmp_path / "migrations" / "0001_a.sql").write_text(script)
        return read_migrations(tmp_path)[0].checksum

    first = checksum("CREATE TABLE T (A INT64) PRIMARY KEY (A);")
    assert checksum("-- why\nCREATE TABLE T\n  (A INT64) PRIMARY KEY (A)") == first
    assert checksum("CREATE TABLE T (A STRING(9)) PRIMARY KEY (A);") != first


@pytest.mark.parametrize("names", [["0002_a"], ["0001_a", "0003_b"], ["0001_a", "0001_b"], ["one"]])
def test_refuses_gaps_and_odd_names(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "migrations").mkdir()
    for name in names:
        (tmp_path / "migrations" / f"{name}.sql").write_text("UPDATE T SET A = 1 WHERE A = 0")
    with pytest.raises(SchemaError):
        read_migrations(tmp_path)
