"""The same two responses judged more than once: one example for each, by the majority of people's votes.

Data sets of votes hold a pair as often as it was voted on. Repeating it would weigh it by its popularity, and a
contradiction would teach that both verdicts are right. Judgments with a critique are not votes: only an exact repeat
of one is dropped, and a second critique of the same responses stays, under an id of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from judge_training.data.kept import Kept
from judge_training.data.swap import swap_example
from judge_training.examples import JudgeExample
from rewards.types import Winner

_Key = tuple[str, frozenset[str]]


def merge_repeats(examples: Iterable[JudgeExample]) -> Kept:
    """Each pair of responses once.

    Reasons: voted_again (a further vote on a pair that is kept), votes_are_even (no side has a majority, every vote
    dropped), same_example_again. The kept one says how many votes it stands for in the column "votes".
    """
    votes: dict[_Key, list[JudgeExample]] = defaultdict(list)
    order: list[JudgeExample | _Key] = []
    for example in examples:
        if example.kind == "single" or example.critique:
            order.append(example)
            continue
        key = (_prompt(example), frozenset(example.responses))
        if key not in votes:
            order.append(key)
        votes[key].append(example)
    dropped: Counter[str] = Counter()
    decided = (one if isinstance(one, JudgeExample) else _majority(votes[one], dropped) for one in order)
    kept = tuple(_own_ids((one for one in decided if one is not None), dropped))
    return Kept(kept, dict(dropped))


def _prompt(example: JudgeExample) -> str:
    return "\0".join(f"{message.role}:{message.content}" for message in example.prompt.messages)


def _majority(votes: list[JudgeExample], dropped: Counter[str]) -> JudgeExample | None:
    """The first vote for the label that most votes are for, all seen in the first vote's order."""
    first = votes[0]
    if len(votes) == 1:
        return first
    turned = [vote if vote.responses == first.responses else swap_example(vote) for vote in votes]
    counts: Counter[Winner | None] = Counter(vote.label for vote in turned)
    (label, most), *rest = counts.most_common(2)
    if rest and rest[0][1] == most:
        dropped["votes_are_even"] += len(votes)
        return None
    dropped["voted_again"] += len(votes) - 1
    chosen = next(vote for vote in turned if vote.label == label)
    return chosen.model_copy(update={"id": first.id, "columns": {**chosen.columns, "votes": len(votes)}})


def _own_ids(examples: Iterable[JudgeExample], dropped: Counter[str]) -> Iterator[JudgeExample]:
    """The examples that are not exact repeats, each under an id that no other one has."""
    seen: dict[str, list[JudgeExample]] = defaultdict(list)
    for example in examples:
        known = seen[example.id]
        if example in known:
            dropped["same_example_again"] += 1
            continue
        known.append(example)
        yield example.model_copy(update={"id": f"{example.id}-{len(known)}"}) if len(known) > 1 else example
