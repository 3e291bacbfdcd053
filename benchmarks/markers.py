"""Parts of docs/reliability.md that runs write, each between two lines of its own."""

from benchmarks.servers import ROOT

PAGE = ROOT / "docs" / "reliability.md"


def _lines(name: str) -> tuple[str, str]:
    return f"<!-- begin of the {name} -->\n", f"<!-- end of the {name} -->\n"


def part(name: str) -> str:
    """Return the text of a part."""
    begin, end = _lines(name)
    return PAGE.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0]


def write(name: str, text: str) -> None:
    """Replace the text of a part."""
    begin, end = _lines(name)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    PAGE.write_text(f"{before}{begin}{text}{end}{rest.partition(end)[2]}", encoding="utf-8")


def row(cells: list[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |\n"
