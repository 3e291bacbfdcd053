"""Results as an SVG: how much of its target each row takes. A plotting library would be larger than this file."""

from collections.abc import Sequence
from html import escape

from benchmarks.contest import Result

LINE, LABEL, SCALE, MARGIN = 26, 330, 300, 20
WIDTH = LABEL + SCALE + 330
MOST = 1.5  # Shares beyond this are cut off; their figure is beside the target anyway.
OK, MISSED, TEXT, LIMIT = "#4c78a8", "#e45756", "#222", "#222"


def svg(results: Sequence[Result]) -> str:
    """Draw one horizontal bar for each result. It ends left of the vertical line if the row meets its target."""
    height = LINE * len(results) + 3 * MARGIN
    limit = LABEL + SCALE * 1 / MOST
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="13">',
            "<style>text { font-family: sans-serif }</style>",
            "<title>How much of its target each row takes</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            _text(limit, MARGIN, "the target; shorter is better", anchor="middle"),
            *(line for position, result in enumerate(results) for line in _row(result, position * LINE + 2 * MARGIN)),
            f'<line x1="{limit:.0f}" x2="{limit:.0f}" y1="{MARGIN + 6}" y2="{height - MARGIN}" stroke="{LIMIT}"/>',
            "</svg>",
            "",
        ]
    )


def _row(result: Result, top: int) -> list[str]:
    target = result.row.target
    width = SCALE * min(target.share(result.figure), MOST) / MOST
    baseline = top + LINE // 2
    colour = MISSED if result.missed else OK
    return [
        _text(LABEL - 10, baseline, result.row.what, anchor="end"),
        f'<rect x="{LABEL}" y="{top}" width="{width:.0f}" height="{LINE - 8}" fill="{colour}"/>',
        _text(LABEL + SCALE + 10, baseline, f"{target.written(result.figure)}, target {target}"),
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{TEXT}" text-anchor="{anchor}">{escape(text)}</text>'
