"""Candidates from a policy, each a function of (seed, prompt id, index) alone.

Every candidate draws from a generator of its own, so that N, the batch size and the order of the prompts do not
change it: raising N from 4 to 8 keeps the first four, and a run that was killed goes on with the same candidates.
(In floating point a batch of another shape may change a logit in the last place, and so, very rarely, a draw.)
Sampling decides nothing about quality: a candidate cut at its token limit is kept too, with its finish reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from rewards.errors import InputError
from rewards.jsonl import AppendLog, read_records
from rewards.judges.batch_context import memory_errors
from rewards.judges.chat_tokens import chat_ids
from rewards.judges.generation import Generated, decode, draw_seed, generate
from rewards.judges.local_model import LocalModel
from rewards.types import Candidate, Prompt


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One candidate still to be drawn."""

    prompt_id: str
    index: int
    context: list[int]

    @property
    def id(self) -> str:
        return candidate_id(self.prompt_id, self.index)


def candidate_id(prompt_id: str, index: int) -> str:
    """The id of the candidate with this index (from 0) of a prompt."""
    return f"{prompt_id}/{index}"


def sample(
    model: LocalModel,
    prompts: Iterable[Prompt],
    *,
    n: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_size: int = 16,
    seed: int = 0,
    greedy: bool = False,
    skip: Collection[str] = (),
) -> Iterator[Candidate]:
    """`n` candidates for every prompt, batch by batch and so in no particular order.

    `skip` holds ids of candidates that are not to be drawn again. `token_count` and `logprob` (in nats, under the
    distribution after temperature, top-k and top-p) include the token that ends the turn; greedy candidates have no
    `logprob`, since they are not drawn. Raises InputError for prompts with the same id, a prompt longer than the model
    takes, and settings out of range.
    """
    _check(
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        batch_size=batch_size,
        greedy=greedy,
    )
    # All prompts are read and checked first, and the longest go first: what cannot work fails at once.
    wanted = sorted(_wanted(model, prompts, n, max_new_tokens, skip), key=lambda one: len(one.context), reverse=True)
    for start in range(0, len(wanted), batch_size):
        part = wanted[start : start + batch_size]
        with memory_errors(batch_size):
            written = generate(
                model,
                [one.context for one in part],
                max_new_tokens=max_new_tokens,
                temperature=0.0 if greedy else temperature,
                top_p=top_p,
                top_k=top_k,
                seeds=[draw_seed("sample", seed, one.prompt_id, one.index) for one in part],
            )
        for one, row in zip(part, written, strict=True):
            yield _candidate(model, one, row)


def sample_to_file(
    model: LocalModel,
    prompts: Iterable[Prompt],
    path: Path,
    *,
    n: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    batch_size: int = 16,
    seed: int = 0,
    greedy: bool = False,
    progress: bool = True,
) -> int:
    """Sample into a JSONL file of `Candidate`s, going on from those that it already holds; returns how many are new.

    The settings must be those that the file was begun with (a run folder sees to that). Shows progress with rate and
    remaining time on standard error unless `progress` is False.
    """
    asked = list(prompts)

    def drawn(skip: Collection[str]) -> Iterator[Candidate]:
        return sample(
            model,
            asked,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            batch_size=batch_size,
            seed=seed,
            greedy=greedy,
            skip=skip,
        )

    return keep(drawn, asked, path, n=n, progress=progress)


def keep(
    drawn: Callable[[Collection[str]], Iterable[Candidate]],
    prompts: Sequence[Prompt],
    path: Path,
    *,
    n: int,
    progress: bool = True,
) -> int:
    """Write what `drawn(ids that are there already)` gives into a JSONL file as it comes; returns how many are new."""
    with AppendLog(path) as log:
        done = {candidate.id for candidate in read_records(path, Candidate)}
        kept = sum(candidate_id(prompt.id, index) in done for prompt in prompts for index in range(n))
        new = 0
        total = n * len(prompts)
        with tqdm(total=total, initial=kept, desc="sampling", unit="candidate", disable=not progress) as bar:
            for candidate in drawn(done):
                log.write(candidate)
                bar.update()
                new += 1
    return new


def _check(
    *, n: int, max_new_tokens: int, temperature: float, top_p: float, top_k: int, batch_size: int, greedy: bool
) -> None:
    for name, value in (("n", n), ("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"expected {name} of at least 1, got {value}")
    if greedy and n > 1:
        raise InputError(f"expected n = 1 with greedy decoding, got {n}: greedy candidates of a prompt are all equal")
    if not greedy and temperature <= 0:
        raise InputError(f"expected a temperature above 0, got {temperature}; ask for greedy decoding instead")
    if not 0 < top_p <= 1 or top_k < 0:
        raise InputError(f"expected 0 < top_p <= 1 and top_k >= 0, got {top_p} and {top_k}")


def _wanted(
    model: LocalModel, prompts: Iterable[Prompt], n: int, max_new_tokens: int, skip: Collection[str]
) -> Iterator[_Wanted]:
    """What is to be drawn, with the tokens of the prompt."""
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.id in seen:
            raise InputError(f"expected every prompt to have its own id, got {prompt.id!r} twice")
        seen.add(prompt.id)
        missing = [index for index in range(n) if candidate_id(prompt.id, index) not in skip]
        if not missing:
            continue
        context = chat_ids(model.tokenizer, list(prompt.messages))
        _check_fits(prompt.id, len(context), max_new_tokens, model.max_positions)
        yield from (_Wanted(prompt.id, index, context) for index in missing)


def _check_fits(prompt_id: str, tokens: int, max_new_tokens: int, positions: int | None) -> None:
    if positions is not None and tokens + max_new_tokens > positions:
        raise InputError(
            f"prompt {prompt_id!r} has {tokens} tokens and the answer may have {max_new_tokens}, but the model takes "
            f"{positions} in all; leave the prompt out, or lower max_new_tokens"
        )


def _candidate(model: LocalModel, one: _Wanted, row: Generated) -> Candidate:
    return Candidate(
        id=one.id,
        prompt_id=one.prompt_id,
        text=decode(model, row.ids),
        index=one.index,
        source=model.name,
        finish_reason=row.finish_reason,
        token_count=len(row.ids),
        logprob=row.logprob,
    )
