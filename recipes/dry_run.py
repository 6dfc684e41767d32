"""`--dry-run`: what a job would ask of its judge, how long that takes, and how many hours of devices it is.

Nothing is written and no folder is made. Time needs a rate, and a rate is measured: given by `--rate`, taken from the
judge's certificate where it was made on this machine, or found by asking a few questions now (`--probe N`). The probe
loads the judge, and of a server it asks real questions; `--probe 0` asks nothing, and then time may not be known.

An estimate is of one judge that answers in one way: a job that asks several has several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from recipes.cost_sum import given_rate, sum_up
from recipes.dry_run_options import Options
from recipes.machine import devices_of, machine_of
from recipes.planning import Work
from recipes.token_counts import kept_keys, token_counter
from rewards.certificate import JudgeCertificate, find_certificate
from rewards.errors import InputError
from rewards.judges.base import JudgeCard
from rewards.judges.config import JudgeSettings
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import find_protocol, load_generative_judge, merged_decoding
from rewards.judges.rivals.chat_rival import with_chat
from rewards.judging_cost import (
    CostEstimate,
    CostLine,
    Planned,
    Probe,
    Rate,
    asked_about,
    asked_once,
    cost_line,
    probe,
    probe_written,
    rate_of,
)
from rewards.protocol.spec import Decoding, JudgeProtocol

AskedT = TypeVar("AskedT")
PROBE = 4
"""Questions of a probe that nobody gave a number for."""
DIRECT_TOKENS = 32
"""Tokens that a judge writes at most in direct mode, where its distribution cannot be read."""


def estimate_cost(
    settings: JudgeSettings,
    plan: Callable[[JudgeProtocol], Work],
    options: Options,
    *,
    cache: Path | None = None,
    card: Path | None = None,
    certificate: Path | None = None,
) -> CostEstimate:
    """The estimate of one judge's work.

    cache: the file of finished judgments that the job would use; card: the file that says whose they are, where the
    judge is not loaded. Raises InputError for a judge that is not asked in the words of a protocol.
    """
    if not asked_in_words(settings):
        raise InputError(
            f"expected a judge that is asked questions with --dry-run, got rival.kind {settings.rival.kind}"
        )
    protocol = with_chat(find_protocol(settings)[0], settings.rival.chat)
    decoding = merged_decoding(protocol.decoding, settings.decoding)
    work, notes = plan(protocol), list[str]()
    rate = _known_rate(settings, protocol, decoding, options, certificate, notes)
    wanted = (0 if rate is not None else PROBE) if options.probe is None else options.probe
    judge, found = (None, None) if wanted == 0 else _probed(settings, work, wanted, notes)
    if found is not None and options.rate is None:
        rate = rate_of(found, f"{found.questions} questions asked now on {machine_of(settings)}")
    digest = judge.card.digest if judge is not None else _digest_of(card)
    exact = settings.mode == "direct" and (judge.backend.can_score if judge else settings.backend != "endpoint")
    samples = 1 if exact else decoding.samples
    count = token_counter(settings, protocol, exact=settings.mode == "direct", found=found, notes=notes)
    planned = work.planned if cache is None else asked_once(work.planned)
    with kept_keys(cache) as kept:
        if kept is not None and digest is None:
            notes.append(f"cached answers in {cache} are not known without loading the judge; --probe 1 tells")
        lines = [
            cost_line(one, count, samples=samples, digest=digest if kept else None, cached=kept or _nothing)
            for one in planned
        ]
    notes += _counted_notes(planned, lines)
    longest = 0 if exact else _longest(settings, decoding)
    total = sum_up(_in_mode(settings), lines, rate, options, notes, found, longest, devices_of(settings))
    return total.model_copy(update={"notes": (*total.notes, *_mode_notes(settings, exact=exact))})


def estimate_written(
    settings: JudgeSettings, work: Sequence[Planned], options: Options, *, max_new_tokens: int
) -> CostEstimate:
    """The estimate of questions that are answered in free writing, greedily and past any cache, whatever the mode."""
    protocol, notes = find_protocol(settings)[0], list[str]()
    questions = [question for one in work for question in one.questions]
    wanted = (0 if options.rate is not None else PROBE) if options.probe is None else options.probe
    found: Probe | None = None
    if wanted and questions:
        decoding = protocol.decoding.model_copy(
            update={"max_new_tokens": max_new_tokens, "temperature": 0.0, "samples": 1}
        )
        judge = load_generative_judge(settings.model_copy(update={"cache": None}))
        warm_up = settings.backend in ("transformers", "vllm")
        found = probe_written(judge.backend, spread(questions, wanted), decoding, warm_up=warm_up)
        notes += _probe_notes(settings, found)
    rate = given_rate(options)
    if found is not None and rate is None:
        rate = rate_of(found, f"{found.questions} questions answered in writing now on {machine_of(settings)}")
    count = token_counter(settings, protocol, exact=False, found=found, notes=notes)
    lines = [cost_line(one, count, samples=1, digest=None, cached=_nothing) for one in work]
    notes += _counted_notes(work, lines)
    name = f"{settings.model} (in writing)"
    return sum_up(name, lines, rate, options, notes, found, max_new_tokens, devices_of(settings))


def asked_in_words(settings: JudgeSettings) -> bool:
    """Whether a judge is asked in the words of a protocol, so that its questions and tokens can be counted."""
    return settings.rival.kind in ("none", "chat")


def _longest(settings: JudgeSettings, decoding: Decoding) -> int:
    return min(decoding.max_new_tokens, DIRECT_TOKENS) if settings.mode == "direct" else decoding.max_new_tokens


def _counted_notes(work: Sequence[Planned], lines: Sequence[CostLine]) -> list[str]:
    """What the numbers of calls and tokens rest on, beside the questions themselves."""
    notes = [
        f"{line.name}: tokens counted on {line.counted:,} of {len(planned.questions):,} different questions, scaled"
        for planned, line in zip(work, lines, strict=True)
        if 0 < line.counted < len(planned.questions) and not line.cached
    ]
    limits = {one.unseen_tokens // (1 if one.kind == "rate" else 2) for one in work if one.unseen_tokens}
    if limits and any(line.prompt_tokens is not None for line in lines):
        shown = " or ".join(map(str, sorted(limits)))
        notes.append(f"responses that are not sampled yet count with their limit of {shown} tokens")
    return notes


def _nothing(key: str) -> bool:
    return False


def _known_rate(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    decoding: Decoding,
    options: Options,
    named: Path | None,
    notes: list[str],
) -> Rate | None:
    """A rate that need not be measured now."""
    if options.rate is not None:
        return given_rate(options)
    path = find_certificate(settings, named)
    if path is None or options.probe:
        return None
    found = JudgeCertificate.load(path)
    mine = (settings.mode, protocol.digest, decoding)
    if found.judgments_per_second is None or mine != (found.parts.mode, found.parts.protocol, found.parts.decoding):
        return None
    here = found.machine == machine_of(settings)
    if not here and options.probe is None:
        return None
    if not here:
        notes.append("the certificate's speed is another machine's; --probe measures this one's")
    source = f"the certificate, measured on {found.machine} on short bundled questions"
    return Rate(judgments_per_second=found.judgments_per_second, source=source)


def _probed(
    settings: JudgeSettings, work: Work, wanted: int, notes: list[str]
) -> tuple[GenerativeJudge, Probe | None]:
    judge = load_generative_judge(settings.model_copy(update={"cache": None}))
    items = spread(asked_about(work.items, judge.protocol), wanted)
    if not items:
        return judge, None
    found = probe(judge, items, warm_up=settings.backend in ("transformers", "vllm"))
    whose = "of the job's own" if work.own else "about bundled responses, since the job's are not sampled yet"
    notes.append(f"the probe asked {found.questions} questions {whose}, without a cache")
    notes += _probe_notes(settings, found)
    return judge, found


def _probe_notes(settings: JudgeSettings, found: Probe) -> list[str]:
    notes = []
    together = {"transformers": settings.batch_size, "vllm": settings.vllm.window}.get(settings.backend, 1)
    if found.questions < together:
        notes.append(f"a batch holds {together} questions, so the job may be faster; --probe more tells")
    if found.prompt_tokens is None:
        notes.append("the judge reported no tokens: the rate is in judgments")
    return notes


def spread(items: Sequence[AskedT], wanted: int) -> list[AskedT]:
    """So many of them, evenly, of every kind."""
    if len(items) <= wanted:
        return list(items)
    return [items[(2 * number + 1) * len(items) // (2 * wanted)] for number in range(wanted)]


def _digest_of(card: Path | None) -> str | None:
    return JudgeCard.model_validate_json(card.read_bytes()).digest if card is not None and card.is_file() else None


def _in_mode(settings: JudgeSettings) -> str:
    return f"{settings.model if settings.backend != 'scripted' else 'scripted'} ({settings.mode} mode)"


def _mode_notes(settings: JudgeSettings, *, exact: bool) -> list[str]:
    notes = []
    if settings.engine == "ray":
        notes.append("the actors of a Ray cluster work side by side: a rate measured here is that of one judge")
    if settings.backend == "endpoint":
        notes.append("a call is a question; reading a distribution may take the server several requests for one")
    if settings.mode == "critique" and settings.backend in ("transformers", "vllm") and not exact:
        notes.append(
            "each written critique is read once more for its verdict's probabilities; a probe's rate has it in"
        )
    return notes
