"""How far a judge's verdicts on pairs agree with people's: the numbers, each with its interval.

The measures are AUTO-J's (Li et al. 2024, arXiv 2310.05470, section 6.1): *consistency* is the share of pairs with the
same verdict in both orders, *agreement* the share where that verdict is also the human label. Beside them stand
what a user of a reward needs: what abstaining on flips buys and costs, position bias, and taste for length.

Two floors stand beside every judge: "the longer response wins", and a coin. A judge that also gives probabilities is
measured by their mean over both orders too, where a leaning to one position cancels out.

Shares have Wilson intervals, which take pairs as independent; kappas are bootstrapped over prompts. A verdict that
could not be read agrees with nobody and is never consistent. This module reads no files and asks no judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from judge_training.abstention import AbstentionCurve, DecidedPair, abstention_curves
from rewards.intervals import Interval, bootstrap, wilson
from rewards.types import Id, Record, VerdictProbabilities, Winner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")
ABSTAINED = "abstained"


class JudgedPair(Record):
    """One pair with its human label and the judge's verdicts, all in the pair's own order."""

    id: Id
    prompt_id: str
    """What pairs on the same prompt share: the unit that the bootstrap draws."""
    label: Winner
    first_order: Winner | None
    """The verdict on (first, second); None when it could not be read."""
    second_order: Winner | None = None
    """The verdict on (second, first), already swapped back; None when it could not be read or was not asked."""
    asked_both: bool = True
    probabilities: VerdictProbabilities | None = None
    """Mean over the orders asked; None where the judge gave none."""
    longer: Winner | None = None
    """Which response has more characters; None where the texts are not known."""
    scenario: str | None = None

    @property
    def unparsed(self) -> bool:
        """Whether a judgment that was asked for could not be read."""
        return self.first_order is None or (self.asked_both and self.second_order is None)

    @property
    def verdict(self) -> Winner | None:
        """The verdict of all orders asked, or None when it abstains."""
        if self.asked_both and self.first_order != self.second_order:
            return None
        return self.first_order

    @property
    def flipped(self) -> bool:
        """Whether both verdicts could be read and differ."""
        return self.asked_both and not self.unparsed and self.first_order != self.second_order


class Slice(Record):
    """The main numbers of a part of the pairs (a scenario, a group)."""

    name: str
    n: int
    agreement: Interval | None
    consistency: Interval | None
    accuracy: Interval | None
    coverage: Interval | None = None
    """Of the pairs where people name a winner, those that the judge decides in both orders."""
    kept_accuracy: Interval | None = None
    """Share of right verdicts among these."""
    first_preference: Interval | None = None
    """As in `PairAgreement`."""
    judge_longer: Interval | None = None
    human_longer: Interval | None = None


class Abstention(Record):
    """What not deciding buys: of the pairs where people name a winner, those that the judge decides in both orders."""

    accuracy: Interval | None
    """Share of right verdicts among the pairs kept: same winner in both orders, no tie."""
    coverage: Interval | None
    """Share of pairs kept."""
    flipped_accuracy: Interval | None
    """Share of right first-order verdicts among the pairs whose verdict flips: what was given up."""


class PairAgreement(Record):
    """A judge against people on pairs."""

    n: int
    asked_both: int
    unparsed: int
    """Pairs with a judgment that could not be read."""
    unmatched: int = 0
    """Labelled pairs that the judge was not asked about; in no other number."""
    agreement: Interval | None
    """Same verdict in both orders and equal to the label, of the pairs asked in both orders."""
    consistency: Interval | None
    """Same verdict in both orders, of the pairs asked in both orders."""
    accuracy: Interval | None
    """First-order verdict equal to the label, three ways, of all pairs."""
    kappa: Interval | None
    """Cohen's (1960), three ways, between labels and verdicts, over the pairs where the judge does not abstain."""
    first_order_kappa: Interval | None
    """The same with the first order's verdicts."""
    decided_accuracy: Interval | None
    """First-order verdict right, of the pairs where people name a winner."""
    abstention: Abstention
    first_both_times: int
    """Pairs where the response shown first won in both orders."""
    second_both_times: int
    first_preference: Interval | None
    """first_both_times of both counts: 0.5 without position bias."""
    human_ties: Interval | None
    judge_ties: Interval | None
    """Ties among the first-order verdicts."""
    human_longer: Interval | None
    """How often people prefer the longer response, of pairs with a winner and different lengths in characters."""
    judge_longer: Interval | None
    """The same for the first-order verdicts."""
    confusion: dict[str, dict[str, int]]
    """Pairs by label, then by verdict or "abstained"."""
    longer_agreement: Interval | None = None
    """Floor: how often "the longer response wins" is the label, three ways."""
    random_agreement: Interval | None = None
    """Floor: the same for a fair coin between the two, expected; its interval is that of the share of ties."""
    soft_agreement: Interval | None = None
    """How often the likeliest verdict of the mean probabilities is the label, three ways."""
    soft_decided_accuracy: Interval | None = None
    """The same for the likelier of the two responses, of pairs where people name a winner."""
    abstention_curves: tuple[AbstentionCurve, ...] = ()
    """Coverage against accuracy, of pairs where people name a winner."""
    scenarios: tuple[Slice, ...] = ()
    groups: tuple[Slice, ...] = Field(default=())


def pair_agreement(pairs: Sequence[JudgedPair], *, unmatched: int = 0, resamples: int = 1000) -> PairAgreement:
    """Measure labelled pairs; a share over no pairs is None."""
    both = [one for one in pairs if one.asked_both]
    decided = [one for one in pairs if one.label != "tie"]
    read = [one for one in pairs if one.first_order is not None]
    first_both, second_both = _both_times(both, "first", "second"), _both_times(both, "second", "first")
    return PairAgreement(
        n=len(pairs),
        asked_both=len(both),
        unparsed=sum(one.unparsed for one in pairs),
        unmatched=unmatched,
        agreement=_share(both, lambda one: one.verdict == one.label),
        consistency=_share(both, lambda one: one.verdict is not None),
        accuracy=_share(pairs, lambda one: one.first_order == one.label),
        kappa=_kappa([(one.prompt_id, one.label, one.verdict) for one in pairs], resamples),
        first_order_kappa=_kappa([(one.prompt_id, one.label, one.first_order) for one in pairs], resamples),
        decided_accuracy=_share(decided, lambda one: one.first_order == one.label),
        abstention=_abstention([one for one in decided if one.asked_both]),
        first_both_times=first_both,
        second_both_times=second_both,
        first_preference=wilson(first_both, first_both + second_both),
        human_ties=_share(pairs, lambda one: one.label == "tie"),
        judge_ties=_share(read, lambda one: one.first_order == "tie"),
        human_longer=_longer((one.longer, one.label) for one in pairs),
        judge_longer=_longer((one.longer, one.first_order) for one in pairs),
        confusion=_confusion(pairs),
        longer_agreement=_share([one for one in pairs if one.longer is not None], lambda one: one.longer == one.label),
        random_agreement=_coin(decided, pairs),
        soft_agreement=_share(_with_probabilities(pairs), lambda one: _likeliest(one, WINNERS) == one.label),
        soft_decided_accuracy=_share(
            _with_probabilities(decided), lambda one: _likeliest(one, ("first", "second")) == one.label
        ),
        abstention_curves=abstention_curves([_decided_pair(one) for one in decided if one.asked_both]),
        scenarios=slices(pairs, {one.scenario: one.scenario for one in pairs if one.scenario is not None}),
    )


def slices(pairs: Sequence[JudgedPair], name_of: dict[str, str]) -> tuple[Slice, ...]:
    """The main numbers by a name for each scenario, in the order in which the names come in `name_of`."""
    parts: dict[str, list[JudgedPair]] = {name: [] for name in name_of.values()}
    for one in pairs:
        if one.scenario is not None and one.scenario in name_of:
            parts[name_of[one.scenario]].append(one)
    return tuple(_slice(name, part) for name, part in parts.items() if part)


def _slice(name: str, part: Sequence[JudgedPair]) -> Slice:
    both = [one for one in part if one.asked_both]
    abstention = _abstention([one for one in both if one.label != "tie"])
    first_both, second_both = _both_times(both, "first", "second"), _both_times(both, "second", "first")
    return Slice(
        name=name,
        n=len(part),
        agreement=_share(both, lambda one: one.verdict == one.label),
        consistency=_share(both, lambda one: one.verdict is not None),
        accuracy=_share(part, lambda one: one.first_order == one.label),
        coverage=abstention.coverage,
        kept_accuracy=abstention.accuracy,
        first_preference=wilson(first_both, first_both + second_both),
        judge_longer=_longer((one.longer, one.first_order) for one in part),
        human_longer=_longer((one.longer, one.label) for one in part),
    )


def _share(pairs: Sequence[JudgedPair], holds: Callable[[JudgedPair], bool]) -> Interval | None:
    return wilson(sum(holds(one) for one in pairs), len(pairs))


def _coin(decided: Sequence[JudgedPair], pairs: Sequence[JudgedPair]) -> Interval | None:
    """Agreement of a fair coin that knows no ties: half the share of pairs with a winner."""
    share = wilson(len(decided), len(pairs))
    if share is None:
        return None
    return share.model_copy(update={"value": share.value / 2, "low": share.low / 2, "high": share.high / 2})


def _with_probabilities(pairs: Sequence[JudgedPair]) -> list[JudgedPair]:
    return [one for one in pairs if one.probabilities is not None]


def _likeliest(pair: JudgedPair, among: Sequence[Winner]) -> Winner | None:
    """The likeliest verdict; None when two are equally likely, which is no verdict."""
    if pair.probabilities is None:
        return None
    shares = {winner: pair.probabilities.model_dump()[winner] for winner in among}
    best = max(shares.values())
    found = [winner for winner, share in shares.items() if share == best]
    return found[0] if len(found) == 1 else None


def _decided_pair(pair: JudgedPair) -> DecidedPair:
    return DecidedPair(
        label=pair.label, first_order=pair.first_order, verdict=pair.verdict, probabilities=pair.probabilities
    )


def _both_times(pairs: Sequence[JudgedPair], first_order: Winner, second_order: Winner) -> int:
    """Pairs with these verdicts, given in the pair's own order."""
    return sum(one.first_order == first_order and one.second_order == second_order for one in pairs)


def _abstention(decided: Sequence[JudgedPair]) -> Abstention:
    kept = [one for one in decided if one.verdict not in (None, "tie")]
    return Abstention(
        accuracy=_share(kept, lambda one: one.verdict == one.label),
        coverage=wilson(len(kept), len(decided)),
        flipped_accuracy=_share([one for one in decided if one.flipped], lambda one: one.first_order == one.label),
    )


def _longer(preferences: Iterable[tuple[Winner | None, Winner | None]]) -> Interval | None:
    told = [(longer, winner) for longer, winner in preferences if {longer, winner} <= {"first", "second"}]
    return wilson(sum(longer == winner for longer, winner in told), len(told))


def _confusion(pairs: Sequence[JudgedPair]) -> dict[str, dict[str, int]]:
    counts = Counter((one.label, one.verdict or ABSTAINED) for one in pairs)
    return {label: {verdict: counts[label, verdict] for verdict in (*WINNERS, ABSTAINED)} for label in WINNERS}


def _kappa(rows: Sequence[tuple[str, Winner, Winner | None]], resamples: int) -> Interval | None:
    import numpy as np

    told = [(prompt, WINNERS.index(label), WINNERS.index(verdict)) for prompt, label, verdict in rows if verdict]
    cells = np.array([label * 3 + verdict for _, label, verdict in told], dtype=np.intp)

    def statistic(positions: NDArray[np.intp]) -> float:
        table = np.bincount(cells[positions], minlength=9).reshape(3, 3) / len(positions)
        chance = float(table.sum(axis=0) @ table.sum(axis=1))
        # Two raters who only ever give the same one answer agree by definition: kappa is 0 / 0.
        return float("nan") if chance > 1 - 1e-12 else (float(np.trace(table)) - chance) / (1 - chance)

    return bootstrap(statistic, [prompt for prompt, _, _ in told], resamples=resamples)
