"""Two sides measured in turn, so that whatever else the machine does meets both alike."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from benchmarks.targets import Target


class Party(Protocol):
    """What is measured on one side. It rests but for its turns."""

    def turn(self) -> None:
        """Do some of what is measured."""

    def figure(self) -> float:
        """What the turns have shown, in the row's unit; the last call."""


Side = Callable[[], AbstractContextManager[Party]]
"""Entered, it starts and warms up what it needs."""


class Rounds:
    """A party that measures something anew in each turn, and shows the median."""

    def __init__(self, measure: Callable[[], float]) -> None:
        self._measure = measure
        self._measured: list[float] = []

    def turn(self) -> None:
        self._measured.append(self._measure())

    def figure(self) -> float:
        return median(self._measured)


class Skipped(Exception):
    """Why a row is not measured here, in words that say what would change that."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Two processes of one program differ by some percent (where their memory happens to lie), so that a row of which the
    target is near starts both sides ``starts`` times; each time they have ``turns`` turns each.
    """

    name: str
    what: str
    against: str
    ours: Side
    beside: Side
    unit: str
    target: Target
    starts: int = 1
    turns: int = 6


@dataclass(frozen=True, slots=True)
class Result:
    """Medians over the starts, in the row's unit; or, without them, a ``note`` that says why.

    ``figure`` is the median of what each start makes of its two sides, for what slows one start slows both.
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
        return self.failed or (self.measured and not self.row.target.held(self.figure))


def hold(row: Row) -> Result:
    """Measure a row. An error in it is a failed result, so that the other rows are still measured."""
    try:
        return _alternate(row)
    except Skipped as reason:
        return Result(row, note=f"skipped: {reason}")
    except Exception as error:  # noqa: BLE001 - whatever it is, this row has no figure
        return Result(row, note=f"{type(error).__name__}: {error}", failed=True)


def _alternate(row: Row) -> Result:
    starts = []
    for _ in range(row.starts):
        with row.beside() as beside, row.ours() as ours:
            for _ in range(row.turns):
                ours.turn()
                beside.turn()
            starts.append((ours.figure(), beside.figure()))
    our_figure, their_figure = (median(side) for side in zip(*starts, strict=True))
    return Result(row, our_figure, their_figure, median(row.target.figure(*each) for each in starts))
