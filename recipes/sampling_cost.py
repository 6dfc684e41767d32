"""`--dry-run` of sampling alone: candidates, tokens, time and hours of devices. No judge is asked.

Candidates that the run holds already are not drawn again and not counted. How long they become is what a probe shows,
else their limit; a probe draws a few now, from prompts all over the list, and keeps none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from recipes.cost_sum import given_rate, sum_up
from recipes.dry_run import PROBE, spread
from recipes.dry_run_options import Options
from recipes.machine import devices_of, machine_of
from recipes.schema import SampleRecipe
from recipes.sections import PolicySettings, SamplingSettings
from recipes.splitting import choose_prompts
from recipes.stages import read_source
from rewards.jsonl import read_records
from rewards.judges.config import JudgeSettings
from rewards.judging_cost import CostEstimate, CostLine, Probe, rate_of
from rewards.types import Candidate, Prompt
from rl.run_folder import RunFolder

if TYPE_CHECKING:
    from rewards.judges.local_model import LocalModel

Count = Callable[[Prompt], int]


def sampling_cost(recipe: SampleRecipe, options: Options) -> CostEstimate:
    """The estimate: at most, unless a probe tells how long candidates become."""
    from rl.sampling import candidate_id

    prompts, _ = choose_prompts(
        read_source(recipe.prompts)[0], limit=recipe.prompts.limit, held_out=0, seed=recipe.seed
    )
    run, sampling, notes = RunFolder(recipe.output), recipe.sampling, list[str]()
    there = {one.id for one in read_records(run.candidates, Candidate)} if run.candidates.is_file() else set()
    left = {p.id: sum(candidate_id(p.id, index) not in there for index in range(sampling.n)) for p in prompts}
    calls = sum(left.values())
    count = _counter(recipe.policy)
    line = CostLine(
        name="candidates",
        calls=calls,
        cached=len(prompts) * sampling.n - calls,
        prompt_tokens=sum(left[prompt.id] * count(prompt) for prompt in prompts),
        counted=len(prompts),
    )
    on_ray = sampling.engine == "ray"
    wanted = PROBE if options.probe is None and options.rate is None and not on_ray else options.probe or 0
    waiting = [prompt for prompt in prompts if left[prompt.id]]
    rate, found = given_rate(options), None
    here = JudgeSettings(batch_size=sampling.batch_size)  # the settings of a model in this process
    if wanted and waiting:
        found = _probe(recipe.policy, sampling, spread(waiting, wanted), count, seed=recipe.seed)
        rate = rate or rate_of(found, f"{found.questions} candidates drawn now on {machine_of(here)}")
        if found.questions < sampling.batch_size:
            notes.append(
                f"a batch holds {sampling.batch_size} candidates, so the job may be faster; --probe more tells"
            )
    if on_ray:
        notes.append(
            "the actors of a Ray cluster work side by side: --rate is of all of them, --devices says how many"
        )
    notes.append("prompt tokens: counted with the policy's own tokenizer and chat template, once for each candidate")
    devices = (None, "GPU") if on_ray else devices_of(here)
    name = f"{recipe.policy.model} (sampling)"
    return sum_up(name, [line], rate, options, notes, found, sampling.max_new_tokens, devices)


def _counter(policy: PolicySettings) -> Count:
    from rewards.judges.chat_tokens import chat_ids
    from rewards.judges.local_model import load_tokenizer_alone

    tokenizer = load_tokenizer_alone(policy.model, policy.adapter)
    return lambda prompt: len(chat_ids(tokenizer, list(prompt.messages)))


def _probe(
    policy: PolicySettings, sampling: SamplingSettings, prompts: Sequence[Prompt], count: Count, *, seed: int
) -> Probe:
    """One candidate of each of these prompts, timed after a first one that is not."""
    from rewards.judges.local_model import load_model

    model = load_model(policy.model, adapter=policy.adapter, dtype=policy.dtype, attention=policy.attention)
    _draw(model, sampling, prompts[:1], seed)
    started = time.perf_counter()
    drawn = _draw(model, sampling, prompts, seed)
    return Probe(
        questions=len(drawn),
        seconds=time.perf_counter() - started,
        prompt_tokens=sum(map(count, prompts)),
        new_tokens=sum(one.token_count or 0 for one in drawn),
        characters=0,
    )


def _draw(model: LocalModel, sampling: SamplingSettings, prompts: Sequence[Prompt], seed: int) -> list[Candidate]:
    from rl.sampling import sample

    greedy = sampling.temperature == 0
    return list(
        sample(
            model,
            prompts,
            n=1,
            max_new_tokens=sampling.max_new_tokens,
            temperature=1.0 if greedy else sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            batch_size=sampling.batch_size,
            seed=seed,
            greedy=greedy,
        )
    )
