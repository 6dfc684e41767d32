"""What a run found, in sentences: the head of the report and the last lines of the command line.

A number never stands without its interval where it has one, an interval that includes "no difference" says so,
and a judge that was never trained to judge is named before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.health import symptoms_in
from rl.report_summary import OUTSIDE, Summary
from rl.results import Estimate, Evaluation

Tone = Literal["warning", "good", "bad", "plain"]

UNTRAINED = "This judge was never trained to judge; read its numbers as a test of the pipeline only."

UNCERTIFIED = "This judge has no certificate: nobody measured it, so nothing here says how often it is right."


@dataclass(frozen=True)
class Finding:
    """One thing found."""

    tone: Tone
    topic: str
    text: str


def percent(share: float) -> str:
    """A share as a percentage with one digit."""
    return f"{share:.1%}"


def count(number: int, noun: str) -> str:
    """`1 pair`, `12,000 pairs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def findings(summary: Summary) -> list[Finding]:
    """Everything that can be said of a run, most important first; one sentence when there is nothing yet."""
    found: list[Finding] = []
    if summary.judge is not None and not summary.judge.trained:
        found.append(Finding("warning", "Warning", UNTRAINED))
    for part in (_outside(summary), _failures(summary), _agreement(summary), _best_of_n(summary), _chosen(summary)):
        if part is not None:
            found.append(part)
    if summary.evaluation is not None:
        found.append(_win_rate(summary.evaluation))
    found += [Finding("warning", "Health", symptom.text) for symptom in symptoms_in(summary.series)]
    if not any(one.tone != "warning" for one in found):
        found.append(Finding("plain", "Results", "This run folder holds no results yet."))
    certificate = _certificate(summary)
    if certificate is not None:
        found.insert(int(found[0].text == UNTRAINED), certificate)
    return found


def _certificate(summary: Summary) -> Finding | None:
    """What was measured of the judge before the run, or that nothing was."""
    if summary.judge is None:
        return None
    if summary.certificate is None:
        return Finding("warning", "Certificate", UNCERTIFIED)
    if not summary.certified:
        return Finding(
            "warning",
            "Certificate",
            f"The certificate found with this judge is of another one, {summary.certificate.judge.name} "
            f"({summary.certificate.judge.digest[:12]}): its weights, protocol, mode or decoding differ, and its "
            "numbers say nothing of this run.",
        )
    numbers = "; ".join(f"{one.name} {one.text}" for one in summary.certificate.headline)
    return Finding("plain", "Certificate", f"Measured before this run ({summary.certificate.made[:10]}): {numbers}.")


def _outside(summary: Summary) -> Finding | None:
    """Prompts that are none of the scenarios, with their mean reward beside that of the others."""
    outside = summary.scenarios.get(OUTSIDE)
    if outside is None:
        return None
    inside = [one.reward for name, one in summary.scenarios.items() if name != OUTSIDE]
    number = sum(reward.n for reward in inside)
    text = (
        f"Outside the scenarios by the classifier: {outside.prompts:,} of {count(summary.prompts or 0, 'prompt')}. "
        "A judge trained on the scenarios tends to be too sure of itself there: read these rewards with care"
    )
    if outside.reward.mean is not None and number:
        others = sum(reward.total for reward in inside) / number
        text += f" (their mean is {outside.reward.mean:.3f}, that of the others {others:.3f})"
    return Finding("warning", "Scenarios", f"{text}.")


def _failures(summary: Summary) -> Finding | None:
    parts = [part for part in (summary.ratings, summary.comparisons) if part]
    total = sum(part.total for part in parts)
    if not total:
        return None
    what = " and ".join(
        name for name, part in (("ratings", summary.ratings), ("comparisons", summary.comparisons)) if part
    )
    failed = sum(part.failures.total() for part in parts)
    if not failed:
        return Finding("good", "Judging", f"All {total:,} {what} could be read.")
    empty = sum(part.failures["empty_response"] for part in parts)
    over = failed - empty > summary.budget * (total - empty)
    text = (
        f"{failed:,} of {total:,} {what} gave no result ({percent(failed / total)}; the budget is "
        f"{percent(summary.budget)}). They are left out, not scored."
    )
    return Finding("bad" if over else "plain", "Judging", text)


def _agreement(summary: Summary) -> Finding | None:
    orders = summary.comparisons.agreement if summary.comparisons else None
    if orders is None or orders.agreement is None:
        return None
    share = orders.agreement
    if summary.judge is not None and summary.judge.compares_by == "rating":
        text = (
            f"The {share.n:,} comparisons were made of ratings, so both orders agree by construction: nothing was "
            "asked twice, and their agreement says nothing."
        )
        return Finding("plain", "Agreement of orders", text)
    text = (
        f"Asked in both orders, the judge gave the same verdict in {percent(share.value)} of {share.n:,} comparisons "
        f"({share.level:.0%} interval {percent(share.low)} to {percent(share.high)}); the other {orders.disagreed:,} "
        "changed with the order and decide nothing."
    )
    bias = orders.first_preference
    if bias is not None and not bias.low <= 0.5 <= bias.high:
        side = "first" if bias.value > 0.5 else "second"
        text += f" Where they changed, it leaned to the response shown {side}."
    return Finding("plain", "Agreement of orders", text)


def _between(estimate: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{estimate.level:.0%} interval {estimate.low:{sign}.3f} to {estimate.high:{sign}.3f}"


def _best_of_n(summary: Summary) -> Finding | None:
    curve = summary.best_of_n
    if curve is None or not curve.points:
        return None
    last = curve.points[-1]
    text = (
        f"The best of {last.k} by the judge's reward is {last.gain.value:+.3f} above a random candidate "
        f"({_between(last.gain, signed=True)}, {count(last.gain.n, 'prompt')}), at a KL of {last.kl:.2f} nats."
    )
    if last.k > 1:
        text += " The same judge chooses and scores here, so this is what there is to choose from, not quality."
    return Finding("good" if last.gain.low > 0 else "plain", "Best-of-N", text)


def _chosen(summary: Summary) -> Finding | None:
    parts = []
    if summary.selected is not None:
        parts.append(f"{count(summary.selected, 'candidate')} selected")
    if summary.pairs is not None:
        margin = summary.margin.mean
        parts.append(
            f"{count(summary.pairs, 'preference pair')} kept" + (f" (mean margin {margin:.3f})" if margin else "")
        )
    if not parts:
        return None
    text = f"{' and '.join(parts)}."
    manifest = summary.manifests.get("pairs")
    account = (manifest.counts.get("pairs") or manifest.counts.get("rows")) if manifest else None
    if account is not None and account.dropped:
        reason, number = next(iter(account.dropped.items()))
        text += f" Commonest reason to drop a pair: {reason.replace('_', ' ')} ({number:,})."
    return Finding("bad" if summary.pairs == 0 else "plain", "Selection", text)


def _range(rate: Estimate) -> str:
    return f"({rate.level:.0%} interval {percent(rate.low)} to {percent(rate.high)}, {count(rate.n, 'prompt')})"


def _win_rate(evaluation: Evaluation) -> Finding:
    rate = evaluation.win_rate
    left_out = evaluation.abstained + evaluation.unparsed
    tail = f" {count(left_out, 'comparison')} without a decision left out." if left_out else ""
    soft = evaluation.soft_win_rate
    if soft is not None:
        tail += f" By the verdicts' probabilities, both orders averaged, it is {percent(soft.value)} {_range(soft)}."
    if rate is None:
        return Finding("bad", "Win rate", f"No comparison of the policies was decided.{tail}")
    text = f"The trained policy's win rate against the start policy is {percent(rate.value)} {_range(rate)}."
    if rate.low <= 0.5 <= rate.high:
        return Finding("plain", "Win rate", f"{text} The interval includes 50%: no difference is shown.{tail}")
    better = rate.low > 0.5
    words = "above 50%: the judge prefers the trained policy" if better else "below 50%: the judge prefers the start"
    return Finding("good" if better else "bad", "Win rate", f"{text} The interval lies {words}.{tail}")
