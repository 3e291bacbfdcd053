"""The table of docs/reference/s3-servers.md: a row for each use of a signed URL, a column for each server."""

import re
from datetime import UTC, datetime
from pathlib import Path

from s3_check.uses import Use

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "s3-servers.md"
TABLE = re.compile(r"^\| feature \| use \|(?:.*\n)(?:\|.*\n)*", re.MULTILINE)
NOT_REACHED = "-"
VERSION, DATE = ("version", ""), ("date", "")

Row = tuple[str, str]
Column = dict[Row, str]


def column(found: dict[str, list[Use]]) -> Column:
    """Return the verdicts of a run, by feature and use."""
    return {(feature, use.name): use.verdict.value for feature, uses in found.items() for use in uses}


def read() -> dict[str, Column]:
    """Return the columns of the page, by the name of the server; without the cells that have no verdict."""
    head, _, *lines = [_cells(line) for line in TABLE.search(PAGE.read_text(encoding="utf-8"))[0].splitlines()]
    columns: dict[str, Column] = {server: {} for server in head[2:]}
    feature = ""
    for first, use, *cells in lines:
        feature = first or feature
        for server, cell in zip(columns, cells, strict=True):
            if cell != NOT_REACHED:
                columns[server][feature, use] = cell
    return columns


def write(server: str, version: str, new: Column) -> None:
    """Put the column of a server into the page, in place of an earlier one of this name."""
    columns = read()
    columns[server] = {VERSION: version, DATE: datetime.now(UTC).date().isoformat()} | new
    # A server that lacks something ends its feature early, so the longest column of a feature comes first.
    features = dict.fromkeys(row[0] for each in [new, *columns.values()] for row in [VERSION, DATE, *each])
    rows: list[Row] = []
    for feature in features:
        uses = [[row for row in each if row[0] == feature] for each in columns.values()]
        rows += dict.fromkeys(row for some in sorted(uses, key=len, reverse=True) for row in some)
    lines = [["feature", "use", *columns], ["---"] * (len(columns) + 2)]
    for before, row in zip([None, *rows], rows, strict=False):
        first = "" if before and before[0] == row[0] else row[0]
        lines.append([first, row[1], *(each.get(row, NOT_REACHED) for each in columns.values())])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
