"""Ratings -> rewards: calibrate, rescale, centre within a prompt, clip, and a length term, each kept as a part.

Design decisions. A reward's value is the sum of its parts, so that anybody can see what shaped it and undo it:

    rating       the rating written (the most probable one), rescaled where asked
    expectation  from that rating to the mean of the judge's distribution, where it gave one
    calibration  from there to what people say where the judge says that, by a map that was fitted to their labels
    centre       less the mean over the prompt's scored candidates
    clip         what the bound took off (towards zero)
    length       the length term

A judgment that could not be read becomes `Unscored` with the judge's reason and takes no part in any mean.
Everything goes by id: the order of the input changes nothing, and the output is sorted by prompt and candidate.

This module fits no map, asks no judge and does no I/O.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field

from rewards.calibration import CalibrationMap
from rewards.errors import InputError
from rewards.types import Candidate, Judgment, Rating, Record, Reward, Unparsed, Unscored, Verdict

RATING_PARTS = ("rating", "expectation", "calibration")
"""The parts that say what the judge found; all others shape the reward."""
NOT_JUDGED = "not_judged"


class LengthTerm(Record):
    """A penalty on length, as a part of its own.

    Against the prompt's mean (over its scored candidates) it is linear in both directions and sums to zero over the
    prompt. Against a target only what is longer is penalised, so that saying nothing earns nothing.
    """

    unit: Literal["token", "character"] = "token"
    weight: float = Field(gt=0.0)
    """Reward taken for every unit above the baseline."""
    target: float | None = Field(default=None, ge=0.0)
    """Length in units that is free; None compares with the prompt's mean."""


def unshaped(reward: Reward) -> float:
    """What the judge said, calibrated and rescaled: the reward without centring, clipping and length term."""
    return sum(value for name, value in reward.parts.items() if name in RATING_PARTS)


def rating_level(reward: Reward) -> float:
    """The level that decides whether two candidates' ratings tie: the rating as written.

    Expected ratings hardly ever tie. A reward that no rating made is taken by its value. Rounded to 9 decimals, so
    that rescaling cannot break a tie.
    """
    return round(reward.parts.get("rating", reward.value), 9)


def rewards_from_ratings(
    judgments: Iterable[Judgment],
    *,
    candidates: Mapping[str, Candidate] | None = None,
    calibration: CalibrationMap | None = None,
    rescale: tuple[float, float] | None = None,
    centre: bool = False,
    clip: float | None = None,
    length: LengthTerm | None = None,
) -> list[Reward | Unscored]:
    """One `Reward` or `Unscored` for every candidate, sorted by prompt and candidate id.

    `calibration` maps ratings to those of the people it was fitted to. `rescale` is the judge's scale (low, high), or
    with `calibration` that of its labels, mapped to 0..1; `centre` subtracts the prompt's mean over scored candidates;
    `clip` bounds the absolute value of the rating after that. `candidates` by id are needed for `length`; when given,
    one that has no judgment is `Unscored` with "not_judged". The variance is the judge's, not calibrated, in squared
    units of the rescaled rating. Where clipping acts, the sum of parts meets the bound up to rounding.

    Raises InputError for a verdict, for two judgments of one candidate, for a rating off `rescale`, for a map of
    verdicts, of another judge or that leaves `rescale`, and for a candidate that is unknown or has no length when
    these are needed.
    """
    scale = _checked_scale(rescale)
    if calibration is not None:
        calibration.check_rewards("", scale)
    if clip is not None and not clip > 0:
        raise InputError(f"expected clip > 0, got {clip}")
    if length is not None and candidates is None:
        raise InputError("expected candidates with a length term, got none: lengths are read from them")
    by_prompt: dict[str, list[Reward]] = defaultdict(list)
    scored: list[Reward | Unscored] = []
    judged = _by_candidate(judgments)
    for candidate_id, judgment in judged.items():
        _check_known(judgment, candidate_id, candidates)
        one = _raw(judgment, candidate_id, scale, calibration)
        if isinstance(one, Reward):
            by_prompt[one.prompt_id].append(one)
        else:
            scored.append(one)
    for group in by_prompt.values():
        scored.extend(_shape(group, candidates, centre=centre, clip=clip, length=length))
    for candidate in (candidates or {}).values():
        if candidate.id not in judged:
            scored.append(Unscored(candidate_id=candidate.id, prompt_id=candidate.prompt_id, reason=NOT_JUDGED))
    return sorted(scored, key=lambda one: (one.prompt_id, one.candidate_id))


def _checked_scale(rescale: tuple[float, float] | None) -> tuple[float, float] | None:
    if rescale is not None and not (math.isfinite(rescale[1] - rescale[0]) and rescale[0] < rescale[1]):
        raise InputError(f"expected rescale as the judge's scale (low, high) with low < high, got {rescale}")
    return rescale


def _by_candidate(judgments: Iterable[Judgment]) -> dict[str, Judgment]:
    judged: dict[str, Judgment] = {}
    for judgment in judgments:
        if len(judgment.candidate_ids) != 1:
            raise _not_a_rating(judgment)
        candidate_id = judgment.candidate_ids[0]
        if candidate_id in judged:
            raise InputError(
                f"expected one rating for each candidate, got two for {candidate_id!r} "
                f"({judged[candidate_id].id!r} and {judgment.id!r}); keep the judgments of one judge only"
            )
        judged[candidate_id] = judgment
    return judged


def _not_a_rating(judgment: Judgment) -> InputError:
    return InputError(
        f"expected ratings, got judgment {judgment.id!r} of {len(judgment.candidate_ids)} candidate(s) with outcome "
        f"{judgment.outcome.kind!r}; comparisons become rewards in rewards.verdicts"
    )


def _check_known(judgment: Judgment, candidate_id: str, candidates: Mapping[str, Candidate] | None) -> None:
    if candidates is None:
        return
    candidate = candidates.get(candidate_id)
    if candidate is None:
        raise InputError(f"expected a candidate for every judgment, got {judgment.id!r} of unknown {candidate_id!r}")
    if candidate.prompt_id != judgment.prompt_id:
        raise InputError(
            f"expected judgment {judgment.id!r} to be of prompt {candidate.prompt_id!r} as its candidate is, "
            f"got {judgment.prompt_id!r}"
        )


def _raw(
    judgment: Judgment, candidate_id: str, scale: tuple[float, float] | None, calibration: CalibrationMap | None
) -> Reward | Unscored:
    """The judge's rating, calibrated, rescaled and not shaped."""
    outcome = judgment.outcome
    if isinstance(outcome, Verdict):
        raise _not_a_rating(judgment)
    if isinstance(outcome, Unparsed):
        return Unscored(
            candidate_id=candidate_id, prompt_id=judgment.prompt_id, reason=outcome.reason, judgment_ids=(judgment.id,)
        )
    low, span = (0.0, 1.0) if scale is None else (scale[0], scale[1] - scale[0])
    if scale is not None and calibration is None:
        _check_on_scale(outcome, scale, judgment.id)
    rating, score = (outcome.value - low) / span, (outcome.score - low) / span
    parts = {"rating": rating}
    if outcome.expected is not None:
        parts["expectation"] = score - rating
    if calibration is not None:
        calibration.check_judge(judgment.judge)
        parts = {name: _even(part) for name, part in parts.items()}
        parts["calibration"] = _even((calibration.apply_rating(outcome) - low) / span) - sum(parts.values())
    return Reward(
        candidate_id=candidate_id,
        prompt_id=judgment.prompt_id,
        value=sum(parts.values()),
        parts=parts,
        judgment_ids=(judgment.id,),
        variance=None if outcome.variance is None else outcome.variance / span**2,
    )


def _even(value: float) -> float:
    """The value to 2^-40, so that sums are exact: a map's flat stretches are ties, and no rounding may order them."""
    return round(value * 2**40) / 2**40


def _check_on_scale(rating: Rating, scale: tuple[float, float], judgment_id: str) -> None:
    low, high = scale
    # An expected rating is a sum of products and may leave the scale by a rounding error.
    slack = 1e-6 * (high - low)
    for value in (rating.value, rating.score):
        if not low - slack <= value <= high + slack:
            raise InputError(
                f"expected ratings from {low:g} to {high:g}, got {value:g} in {judgment_id!r}; "
                "give rescale the scale of the judge's protocol"
            )


def _shape(
    group: list[Reward],
    candidates: Mapping[str, Candidate] | None,
    *,
    centre: bool,
    clip: float | None,
    length: LengthTerm | None,
) -> list[Reward]:
    """The rewards of one prompt with their shaping parts."""
    mean = math.fsum(one.value for one in group) / len(group)
    lengths = {} if length is None or candidates is None else _lengths(group, candidates, length)
    shaped = []
    for one in group:
        parts = dict(one.parts)
        if centre:
            parts["centre"] = -mean
        if clip is not None:
            value = sum(parts.values())
            parts["clip"] = min(clip, max(-clip, value)) - value
        if length is not None:
            parts["length"] = _length_part(lengths, one.candidate_id, length)
        shaped.append(one.model_copy(update={"parts": parts, "value": sum(parts.values())}))
    return shaped


def _lengths(group: list[Reward], candidates: Mapping[str, Candidate], length: LengthTerm) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for one in group:
        candidate = candidates[one.candidate_id]
        size = candidate.token_count if length.unit == "token" else len(candidate.text)
        if size is None:
            raise InputError(
                f"expected token_count for a length term in tokens, got none for candidate {candidate.id!r}; "
                "count tokens when sampling, or use unit: character"
            )
        lengths[one.candidate_id] = size
    return lengths


def _length_part(lengths: dict[str, int], candidate_id: str, length: LengthTerm) -> float:
    if length.target is not None:
        return 0.0 - length.weight * max(0.0, lengths[candidate_id] - length.target)
    return 0.0 - length.weight * (lengths[candidate_id] - math.fsum(lengths.values()) / len(lengths))
