"""What jobs measure, as records: written by the jobs, read by the report and by tracking."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from rewards.types import Record


class Estimate(Record):
    """A number with its interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    n: int = Field(ge=0)
    """Independent units (prompts) behind it."""


class CurvePoint(Record):
    """Best-of-k at one k."""

    k: int = Field(ge=1)
    reward: Estimate
    """Mean over prompts of the expected maximum reward among k candidates drawn from the N without replacement."""
    random: float
    """Mean over prompts of the reward of one candidate drawn at random: the matched baseline."""
    gain: Estimate
    """Paired difference of the two, with its bootstrap interval over prompts."""
    kl: float
    """log k - (k - 1) / k, in nats: analytic KL of the best-of-k policy from the sampling policy."""


class BestOfNCurve(Record):
    """The Best-of-N curve for every k up to N."""

    points: tuple[CurvePoint, ...]
    prompts: int
    """Prompts with at least one scored candidate at every k shown."""
    unscored: int
    """Candidates left out because they have no reward."""
    prompts_left_out: int = 0
    """Prompts left out because they have fewer scored candidates than the largest k."""


class Evaluation(Record):
    """A policy against a reference, compared by the judge."""

    policy: str
    reference: str
    wins: int
    losses: int
    ties: int
    abstained: int
    """Comparisons whose two orders disagreed."""
    unparsed: int
    identical: int = 0
    """Ties (of those counted above) whose two responses are the same text: the judge was not asked."""
    missing: int = 0
    """Prompts left out because one side has no response to them."""
    win_rate: Estimate | None
    """(wins + ties / 2) / decided comparisons, bootstrap over prompts; None when nothing was decided."""
    soft_win_rate: Estimate | None = None
    """Mean over prompts of P(policy better) + P(tie) / 2, averaged over both orders, so that a leaning to one
    position cancels out; abstentions count too. None without probabilities."""
    policy_tokens: float | None = None
    """Mean length of the policy's responses, in tokens."""
    reference_tokens: float | None = None
    policy_characters: float
    reference_characters: float


class Reference(Record):
    """The policy that a round samples from and is held to."""

    model: str
    adapter: str | None = None
    digest: str | None = None
    """Of the adapter's files, or of a model folder's; None for a hub id, whose name says which it is."""


class RoundRecord(Record):
    """What came of one round."""

    number: PositiveInt
    reference: Reference
    prompts: NonNegativeInt
    mean_reward: float | None = None
    """Of what the reference of this round wrote, so of the policy that the round before left."""
    trained_on: NonNegativeInt | None = None
    """Pairs or responses."""
    final_loss: float | None = None
    seconds: NonNegativeFloat = 0.0
