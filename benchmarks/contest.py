"""Two sides measured in turn, so that whatever else the machine does meets both alike."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

from benchmarks.bars import Bar

Measure = Callable[[], float]
"""One round: what was measured, in the row's unit."""

Side = Callable[[], AbstractContextManager[Measure]]
"""Entered once, which starts and warms up what it needs, and then measured in each round."""


class Skipped(Exception):
    """Why a row is not measured here, in words that say what would change that."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Two processes of one program differ by a tenth (where their memory happens to lie), so that a row of which the bar
    is near starts both sides ``starts`` times; each time they are measured ``rounds`` times.

    ``awaits`` says what is still to be built before the bar is meant to hold; until then it is shown, not judged.
    """

    name: str
    what: str
    against: str
    ours: Side
    beside: Side
    unit: str
    bar: Bar
    starts: int = 1
    rounds: int = 5
    awaits: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the rounds, in the row's unit; or, without them, a ``note`` that says why.

    ``figure`` is the median of the rounds' own figures, for what slows one round slows both of its sides.
    """

    row: Row
    ours: float = 0.0
    beside: float = 0.0
    figure: float = 0.0
    note: str = ""
    failed: bool = False

    @property
    def measured(self) -> bool:
        return not self.note

    @property
    def missed(self) -> bool:
        return self.failed or (self.measured and not self.row.awaits and not self.row.bar.held(self.figure))


def hold(row: Row) -> Result:
    """Measure a row. An error in it is a failed result, so that the other rows are still measured."""
    try:
        return _alternate(row)
    except Skipped as reason:
        return Result(row, note=f"skipped: {reason}")
    except Exception as error:  # noqa: BLE001 - whatever it is, this row has no figure
        return Result(row, note=f"{type(error).__name__}: {error}", failed=True)


def _alternate(row: Row) -> Result:
    rounds = []
    for _ in range(row.starts):
        with row.beside() as measure_beside, row.ours() as measure_ours:
            rounds += [(measure_ours(), measure_beside()) for _ in range(row.rounds)]
    ours, beside = (median(side) for side in zip(*rounds, strict=True))
    return Result(row, ours, beside, median(row.bar.figure(*each) for each in rounds))
