"""A calibration map: from what a judge says to what people say, as a monotone curve in plain JSON.

The map is data that travels: knots (x, y), straight lines between them, flat beyond the ends, never falling. It is
fitted from human labels in `judge_training.calibration`; here it is only kept and applied, without numpy, so that
whatever makes rewards can take one. A map belongs to the judge whose digest it carries.

It cannot repair the order in which a judge puts responses (a monotone map keeps it), only the scale.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from rewards.documents import write_json
from rewards.errors import InputError, MissingFileError
from rewards.types import Rating, Record, VerdictProbabilities

CalibrationKind = Literal["rating", "probability"]


class CalibrationMap(Record):
    """A non-decreasing piecewise linear map."""

    kind: CalibrationKind
    """rating: of ratings, in rating points; probability: of the probability that the first of two is the better."""
    x: tuple[float, ...] = Field(min_length=1)
    """What the judge said, rising."""
    y: tuple[float, ...] = Field(min_length=1)
    """What people said of it, not falling."""
    n: int = Field(ge=1)
    """Labels that it was fitted to."""
    judge: str = ""
    """Digest of the judge that it was fitted to; "" where that is not known."""
    labels: str = ""
    """Where the labels came from, for people."""

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"expected as many y as x, got {len(self.y)} and {len(self.x)}")
        if any(right <= left for left, right in pairwise(self.x)):
            raise ValueError("expected rising x, got some that do not rise")
        if any(right < left for left, right in pairwise(self.y)):
            raise ValueError("expected y that never fall, got some that do")
        if self.kind == "probability" and not (self.y[0] >= 0 and self.y[-1] <= 1):
            raise ValueError(f"expected probabilities from 0 to 1, got {self.y[0]} to {self.y[-1]}")
        return self

    def apply(self, value: float) -> float:
        """The calibrated value: on the line between the knots around it, or that of the nearest end."""
        place = bisect_right(self.x, value)
        if place == 0:
            return self.y[0]
        if place == len(self.x):
            return self.y[-1]
        (x0, x1), (y0, y1) = self.x[place - 1 : place + 1], self.y[place - 1 : place + 1]
        # Rounding must not carry the line past its ends.
        return min(max(y0 + (y1 - y0) * ((value - x0) / (x1 - x0)), y0), y1)

    def apply_rating(self, rating: Rating) -> float:
        """The calibrated expected rating; raises InputError unless the map is of ratings."""
        self.check_kind("rating")
        return self.apply(rating.score)

    def apply_verdict(self, probabilities: VerdictProbabilities) -> VerdictProbabilities:
        """The same probability of a tie, and the rest shared out anew; raises InputError unless of probabilities."""
        self.check_kind("probability")
        decided = probabilities.first + probabilities.second
        if decided <= 0:
            return probabilities
        first = decided * self.apply(probabilities.first / decided)
        return probabilities.model_copy(update={"first": first, "second": max(0.0, decided - first)})

    def check_judge(self, digest: str) -> None:
        """Raise InputError where the map is known to be of another judge than that of the digest."""
        if self.judge and digest and self.judge != digest:
            raise InputError(
                f"expected a calibration map of the judge {digest[:12]}, got one of {self.judge[:12]}: other weights, "
                "protocol, mode or decoding; fit one of this judge with `autoj evaluate-judge calibration --save FILE`"
            )

    def check_rewards(self, digest: str, rescale: tuple[float, float] | None) -> None:
        """Raise InputError unless the map can make rewards: of this judge's ratings, into `rescale` where given."""
        self.check_kind("rating")
        self.check_judge(digest)
        if rescale is not None and not rescale[0] <= self.y[0] <= self.y[-1] <= rescale[1]:
            raise InputError(
                f"expected a calibration map within rescale {rescale[0]:g} to {rescale[1]:g}, got one that says "
                f"{self.y[0]:g} to {self.y[-1]:g}; give rescale the scale of its labels"
            )

    def check_kind(self, kind: CalibrationKind) -> None:
        """Raise InputError for a map of the other kind."""
        if self.kind != kind:
            kinds = {"rating": "ratings", "probability": "pairs"}
            raise InputError(
                f"expected a calibration map of kind {kind!r}, got one of kind {self.kind!r}; fit one with `autoj "
                f"evaluate-judge calibration --kind {kinds[kind]} --save FILE`"
            )

    def save(self, path: Path) -> Path:
        """Write it as JSON."""
        write_json(path, self)
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one; raises MissingFileError, or InputError for a file that is no calibration map."""
        if not path.is_file():
            raise MissingFileError(f"expected a calibration map at {path}, found none")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(f"{path}: expected a calibration map; {where}: {first['msg']}") from error
