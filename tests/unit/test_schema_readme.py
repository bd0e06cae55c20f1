"""schema/README.md says of every table, column and index what the schema says."""

import re

import pytest

from jennah.operations.description import Column, read_expected
from jennah.operations.sql import schema_directory

README = (schema_directory() / "README.md").read_text()
EXPECTED = read_expected(schema_directory())


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def table_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def type_cell(column: Column) -> str:
    parts = [column.type]
    if column.default is not None:
        parts.append(f"DEFAULT ({column.default})")
    if column.generated is not None:
        parts.append(f"AS ({column.generated}) STORED")
    if column.commit_timestamp:
        parts.append("(commit)")
    return f"`{' '.join(parts)}`"


@pytest.mark.parametrize("name", EXPECTED.tables)
def test_every_column_is_described(name: str) -> None:
    table = EXPECTED.tables[name]
    rows = table_rows(section(name))
    assert [row[:3] for row in rows] == [
        [column, type_cell(shape), "yes" if shape.nullable else "no"]
        for column, shape in table.columns.items()
    ]
    assert all(row[3] for row in rows)
    assert f"Key: {', '.join(table.key)}." in section(name)
    if table.parent:
        assert f"Interleaved in {table.parent}, `ON DELETE {table.on_delete}`" in section(name)


def test_every_index_is_described() -> None:
    described = {row[0]: row[1] for row in table_rows(section("Indexes"))}
    assert described == {name: f"`{index}`" for name, index in EXPECTED.indexes.items()}


def test_every_table_has_a_section() -> None:
    tables = [title for title in re.findall(r"^## (\w+)$", README, re.MULTILINE) if title in EXPECTED.tables]
    assert sorted(tables) == sorted(EXPECTED.tables)
