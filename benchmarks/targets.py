"""What a row has to hold: a figure made of ours and what is beside it, and a limit."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import sub, truediv

TIMES = "{:.2f} ×"  # noqa: RUF001 - the sign it should be


@dataclass(frozen=True, slots=True)
class Target:
    """``figure`` is made of (ours, beside) and is at most ``limit``, or at least if ``floor``."""

    limit: float
    figure: Callable[[float, float], float]
    floor: bool
    form: str

    def held(self, figure: float) -> bool:
        return figure >= self.limit if self.floor else figure <= self.limit

    def share(self, figure: float) -> float:
        """How much of the target is used: 1 at the limit, less when better."""
        return self.limit / figure if self.floor else figure / self.limit

    def written(self, figure: float) -> str:
        return self.form.format(figure)

    def __str__(self) -> str:
        sign = "≥" if self.floor else "≤"
        return f"{sign} {self.form.replace('.2f', 'g').format(self.limit)}"


def at_most(times: float) -> Target:
    """Ours costs at most so many times as much."""
    return Target(times, truediv, floor=False, form=TIMES)


def at_most_itself(amount: float, unit: str) -> Target:
    """Ours costs at most so much, whatever the other does."""
    return Target(amount, lambda ours, _: ours, floor=False, form=f"{{:.2f}} {unit}")


def at_most_more(units: float, unit: str) -> Target:
    """Ours costs at most so much more."""
    return Target(units, sub, floor=False, form=f"{{:+.2f}} {unit}")


def at_most_each(amount: float, unit: str, count: int) -> Target:
    """Ours costs at most so much more for each of the ``count`` things that it has more."""
    return Target(amount, lambda ours, beside: (ours - beside) / count, floor=False, form=f"{{:.2f}} {unit}")


def times_cheaper(times: float) -> Target:
    """The other costs at least so many times as much."""
    return Target(times, lambda ours, beside: beside / ours, floor=True, form=TIMES)


def times_faster(times: float) -> Target:
    """Ours has at least so many times the rate."""
    return Target(times, truediv, floor=True, form=TIMES)
