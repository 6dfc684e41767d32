"""What a judgment is, as types: the vocabulary that every other module speaks.

Design decisions. A failure is a type (`Unparsed`, `Unscored`) and never a number, so no code can mistake
a judge that broke for a bad response. Everything is keyed by id and never by position. A comparison is
kept with the judgments of both orders, and `swap()` is a method, so that nobody flips labels by hand.
All records are frozen, refuse unknown keys, and go to JSON and back without loss.

This module does no I/O, knows no model and imports no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator


def _encodable(text: str) -> str:
    """Refuse a string that has no UTF-8 form (lone surrogates), since no tokenizer or file can take it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"expected text that can be encoded as UTF-8, got a lone surrogate at character {error.start}"
        ) from error
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Id = Annotated[str, AfterValidator(_encodable), Field(min_length=1, max_length=1024)]
Probability = Annotated[float, Field(ge=0.0, le=1.0 + 1e-6)]


class Record(BaseModel):
    """Base of all records: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> str:
        """One line of JSON that `model_validate_json` reads back to an equal record."""
        return self.model_dump_json(exclude_defaults=False)


class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Prompt(Record):
    """What a policy is asked: a conversation that ends with a user turn."""

    id: Id
    messages: tuple[Message, ...] = Field(min_length=1)
    scenario: str | None = None
    """One of the scenario names, where it is known."""
    columns: dict[str, JsonValue] = Field(default_factory=dict)
    """Further columns of the row it was read from (a reference answer, a source)."""

    @model_validator(mode="after")
    def _ends_with_user(self) -> Self:
        if self.messages[-1].role != "user":
            raise ValueError(f"expected the last message to be the user's, got role {self.messages[-1].role!r}")
        return self


class Candidate(Record):
    """One response to a prompt."""

    id: Id
    prompt_id: Id
    text: Text
    index: int = Field(default=0, ge=0)
    """Which of the N candidates of its prompt this is."""
    source: str | None = None
    """The model or system that wrote it."""
    finish_reason: Literal["stop", "length"] | None = None
    token_count: int | None = Field(default=None, ge=0)
    logprob: float | None = None
    """Sum of the log-probabilities of its tokens under the sampling distribution, in nats."""


class Rating(Record):
    """A judge's rating of one response on the protocol's scale."""

    kind: Literal["rating"] = "rating"
    value: float
    """The rating written (or the most probable one, in direct mode)."""
    expected: float | None = None
    """Mean of the distribution over whole rating strings."""
    variance: float | None = Field(default=None, ge=0.0)
    """Variance of that distribution, in squared rating points."""
    probabilities: dict[str, Probability] | None = None
    """Probability of each rating string, summing to 1."""

    @property
    def score(self) -> float:
        """The expected rating where the judge gave a distribution, else the rating written."""
        return self.value if self.expected is None else self.expected


Winner = Literal["first", "second", "tie"]
_SWAPPED: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}


class VerdictProbabilities(Record):
    """Probabilities of the three verdicts, summing to 1."""

    first: Probability
    second: Probability
    tie: Probability

    def swap(self) -> Self:
        """The same probabilities with the two responses exchanged."""
        return self.model_copy(update={"first": self.second, "second": self.first})


class Verdict(Record):
    """A judge's decision between two responses, in the order in which they are named."""

    kind: Literal["verdict"] = "verdict"
    winner: Winner
    probabilities: VerdictProbabilities | None = None

    def swap(self) -> Self:
        """The same decision with the two responses exchanged."""
        probabilities = None if self.probabilities is None else self.probabilities.swap()
        return self.model_copy(update={"winner": _SWAPPED[self.winner], "probabilities": probabilities})


UnparsedReason = Literal[
    "no_verdict",  # the judge wrote no complete verdict
    "off_scale",  # the last verdict is not on the protocol's scale
    "cut_off",  # the judge ran into its token limit before a verdict
    "refused",  # the server's filter stopped the judge
    "prompt_too_long",  # the judge's context cannot hold the question
    "empty_response",  # there is nothing to judge
    "ambiguous_distribution",  # the backend cannot tell the probabilities of whole rating strings
    "timeout",  # the backend gave no answer in time
    "backend_error",  # the backend answered with an error
]
TRANSIENT_REASONS: frozenset[UnparsedReason] = frozenset({"timeout", "backend_error"})
"""Reasons that may go away when the same question is asked again; such an outcome is never cached."""


class Unparsed(Record):
    """A judgment that gave no rating and no verdict. It is never turned into a number."""

    kind: Literal["unparsed"] = "unparsed"
    reason: UnparsedReason
    detail: str = ""


Outcome = Annotated[Rating | Verdict | Unparsed, Field(discriminator="kind")]


class Judgment(Record):
    """One answer of a judge: of one response (a rating) or of two in the order shown (a verdict)."""

    id: Id
    prompt_id: Id
    candidate_ids: tuple[Id] | tuple[Id, Id]
    """The responses judged, in the order in which the judge saw them."""
    outcome: Outcome
    critique: str = ""
    """Everything the judge wrote."""
    judge: str = ""
    """Digest of the judge (weights, protocol, decoding) that gave it."""
    sample_values: tuple[float, ...] = ()
    """With self-consistency, the rating of every sample that could be read."""
    unparsed_samples: int = Field(default=0, ge=0)
    """With self-consistency, the samples that could not be read."""
    mass: float | None = None
    """Share of the model's probability on any verdict, where the distribution was read: low means that the model
    would hardly have written a verdict there."""
    prompt_tokens: int | None = None
    new_tokens: int | None = None

    @staticmethod
    def rating_id(candidate_id: str) -> str:
        """The id of the judgment that rates a candidate."""
        return f"rate:{candidate_id}"

    @staticmethod
    def verdict_id(first_id: str, second_id: str) -> str:
        """The id of the judgment that compares two candidates, shown in this order."""
        return f"compare:{first_id}|{second_id}"


class Abstained(Record):
    """A comparison without a decision."""

    kind: Literal["abstained"] = "abstained"
    reason: Literal["orders_disagree", "unparsed"]


class Comparison(Record):
    """Two candidates compared, from one order or from both; the verdict is in the order (first, second)."""

    id: Id
    prompt_id: Id
    first_id: Id
    second_id: Id
    outcome: Annotated[Verdict | Abstained, Field(discriminator="kind")]
    probabilities: VerdictProbabilities | None = None
    """Mean over the orders asked, kept when the comparison abstains."""
    judgments: tuple[Judgment, ...] = Field(min_length=1, max_length=2)
    """The judgment of (first, second) and, when both orders were asked, that of (second, first)."""

    def swap(self) -> Comparison:
        """The same comparison named from the other side. The judgments stay as they were asked."""
        outcome = self.outcome.swap() if isinstance(self.outcome, Verdict) else self.outcome
        return self.model_copy(
            update={
                "id": Judgment.verdict_id(self.second_id, self.first_id),
                "first_id": self.second_id,
                "second_id": self.first_id,
                "outcome": outcome,
                "probabilities": None if self.probabilities is None else self.probabilities.swap(),
            }
        )


class Reward(Record):
    """The scalar that a trainer sees, with its parts: `value` is their sum, so that it can be unshaped."""

    kind: Literal["reward"] = "reward"
    candidate_id: Id
    prompt_id: Id
    value: float
    parts: dict[str, float] = Field(default_factory=dict)
    judgment_ids: tuple[Id, ...] = ()
    variance: float | None = Field(default=None, ge=0.0)
    notes: tuple[str, ...] = ()
    """What a reader should know before trusting it (`outside_scenarios`)."""


class Unscored(Record):
    """A candidate without a reward, and why."""

    kind: Literal["unscored"] = "unscored"
    candidate_id: Id
    prompt_id: Id
    reason: str
    judgment_ids: tuple[Id, ...] = ()


Scored = Annotated[Reward | Unscored, Field(discriminator="kind")]


class Pair(Record):
    """A preference pair, with the judgments it comes from."""

    id: Id
    prompt_id: Id
    messages: tuple[Message, ...]
    """The prompt's conversation."""
    chosen_id: Id
    rejected_id: Id
    chosen: Text
    rejected: Text
    margin: float = Field(ge=0.0)
    """Reward of the chosen less reward of the rejected."""
    judgment_ids: tuple[Id, ...] = ()
    scenario: str | None = None

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("expected chosen and rejected to differ, got the same text on both sides")
        return self
