"""`--dry-run`: what a job would ask of its judge, how long that takes, and how many hours of devices it is.

Nothing is written and no folder is made. Time needs a rate, and a rate is measured: given by `--rate`, taken from the
judge's certificate where it was made on this machine, or found by asking a few questions now (`--probe N`). The probe
loads the judge, and of a server it asks real questions; `--probe 0` asks nothing, and then time may not be known.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy

from recipes.machine import devices_of, machine_of
from recipes.planning import Item, Work
from rewards.certificate import JudgeCertificate, find_certificate
from rewards.errors import InputError
from rewards.judges.base import JudgeCard, Question
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
    rate_of,
    seconds_for,
)
from rewards.protocol.spec import Decoding, JudgeProtocol

PROBE = 4
"""Questions of a probe that nobody gave a number for."""
DIRECT_TOKENS = 32
"""Tokens that a judge writes at most in direct mode, where its distribution cannot be read."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user says of the estimate."""

    probe: int | None = None
    """Questions to ask and time now; None is 4 where no certificate of this machine has the speed."""
    rate: float | None = None
    """Tokens a second, prompt and answer together, measured elsewhere."""
    devices: int | None = None
    """Devices that the judge occupies, where it is not this machine's."""
    as_json: bool = False


def split_options(arguments: Sequence[str]) -> tuple[Options | None, list[str]]:
    """The options of a dry run, None without `--dry-run`, and the other arguments.

    Raises InputError for a value that is no number.
    """
    if "--dry-run" not in arguments:
        return None, list(arguments)
    given, rest, waiting = {}, [], list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--probe", "--rate", "--devices"):
            given[name] = value if equals else (waiting.pop(0) if waiting else "")
        elif word not in ("--dry-run", "--json", "--resume", "--clean"):
            rest.append(word)
    probe_n, rate, devices = (_number(name, given.get(name)) for name in ("--probe", "--rate", "--devices"))
    options = Options(
        probe=None if probe_n is None else int(probe_n),
        rate=rate or None,
        devices=None if devices is None else int(devices),
        as_json="--json" in arguments,
    )
    return options, rest


def _number(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    whole = name != "--rate"
    if not 0 <= number < float("inf") or (whole and not number.is_integer()) or (name != "--probe" and number == 0):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"expected {kind} {'' if name == '--probe' else 'above 0 '}after {name}, got {text!r}")
    return number


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
    if settings.rival.kind not in ("none", "chat"):
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
    count = _counter(settings, protocol, exact=settings.mode == "direct", found=found, notes=notes)
    planned = work.planned if cache is None else asked_once(work.planned)
    with _kept(cache) as kept:
        if kept is not None and digest is None:
            notes.append(f"cached answers in {cache} are not known without loading the judge; --probe 1 tells")
        lines = [
            cost_line(one, count, samples=samples, digest=digest if kept else None, cached=kept or _nothing)
            for one in planned
        ]
    notes += _counted_notes(planned, lines)
    return _sum_up(settings, lines, rate, found, options, notes, exact=exact, limit=decoding.max_new_tokens)


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
        return Rate(tokens_per_second=options.rate, source="as given by --rate")
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
    items = _spread(asked_about(work.items, judge.protocol), wanted)
    if not items:
        return judge, None
    found = probe(judge, items, warm_up=settings.backend in ("transformers", "vllm"))
    whose = "of the job's own" if work.own else "about bundled responses, since the job's are not sampled yet"
    notes.append(f"the probe asked {found.questions} questions {whose}, without a cache")
    together = {"transformers": settings.batch_size, "vllm": settings.vllm.window}.get(settings.backend, 1)
    if found.questions < together:
        notes.append(f"a batch holds {together} questions, so the job may be faster; --probe more tells")
    if found.prompt_tokens is None:
        notes.append("the judge reported no tokens: the rate is in judgments")
    return judge, found


def _spread(items: Sequence[Item], wanted: int) -> list[Item]:
    """So many of them, evenly, of every kind."""
    if len(items) <= wanted:
        return list(items)
    return [items[(2 * number + 1) * len(items) // (2 * wanted)] for number in range(wanted)]


def _digest_of(card: Path | None) -> str | None:
    return JudgeCard.model_validate_json(card.read_bytes()).digest if card is not None and card.is_file() else None


def _counter(
    settings: JudgeSettings, protocol: JudgeProtocol, *, exact: bool, found: Probe | None, notes: list[str]
) -> Callable[[Question], int] | None:
    """How many tokens a question has, as far as it can be told."""
    if settings.backend == "scripted":
        notes.append("the scripted judge reads no tokens")
        return None
    if settings.backend in ("transformers", "vllm"):
        from rewards.judges.chat_tokens import ChatEncoder
        from rewards.judges.local_model import load_tokenizer_alone

        encoder = ChatEncoder(load_tokenizer_alone(settings.model, settings.adapter), protocol.chat)
        notes.append("prompt tokens: counted with the judge's own tokenizer and protocol")

        def tokens(question: Question) -> int:
            asking = protocol.single if len(question.responses) == 1 or not protocol.pairwise else protocol.pairwise
            return len(encoder.ids(question.content, asking.answer_start if exact else ""))

        return tokens
    if found is None or found.prompt_tokens is None or not found.characters:
        notes.append("prompt tokens are not known: only the server has the tokenizer; --probe N lets it count a few")
        return None
    share = found.prompt_tokens / found.characters
    notes.append(f"prompt tokens: as the server counted {found.questions} questions, scaled by characters")
    return lambda question: round(share * (len(question.query) + sum(map(len, question.responses))))


@contextmanager
def _kept(cache: Path | None) -> Iterator[Callable[[str], bool] | None]:
    """Whether the cache holds a key, read from a copy where it is in use: reading must not write beside it."""
    if cache is None or not cache.is_file():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in (cache, cache.with_name(cache.name + "-wal")):
            if file.is_file():
                copy(file, Path(folder) / file.name)
        connection = sqlite3.connect(Path(folder) / cache.name)
        try:
            keys = {key for (key,) in connection.execute("SELECT key FROM reading")}
        except sqlite3.Error as error:
            raise InputError(f"expected a judgment cache at {cache}, got a file that is not one: {error}") from error
        finally:
            connection.close()
    yield keys.__contains__


def _sum_up(
    settings: JudgeSettings,
    lines: Sequence[CostLine],
    rate: Rate | None,
    found: Probe | None,
    options: Options,
    notes: list[str],
    *,
    exact: bool,
    limit: int,
) -> CostEstimate:
    calls = sum(line.calls for line in lines)
    prompt = None if any(one.prompt_tokens is None for one in lines) else sum(one.prompt_tokens or 0 for one in lines)
    longest = 0 if exact else min(limit, DIRECT_TOKENS) if settings.mode == "direct" else limit
    new = 0 if exact else None
    if not exact and found is not None and found.new_tokens:
        new = round(calls * found.new_tokens / found.questions)
        notes.append(f"new tokens: as many a question as the {found.questions} probed answers had")
    elif not exact:
        notes.append(f"new tokens are not known: at most {longest} an answer; --probe N tells what they are")
    most = calls * longest
    at_most = any(line.at_most for line in lines) or new is None
    tokens = None if prompt is None else prompt + (most if new is None else new)
    seconds = seconds_for(rate, calls, tokens)
    devices, device = devices_of(settings)
    if options.devices is not None:
        devices, device = options.devices, "GPU" if device == "GPU" else "device"
    _say_unknown(notes, seconds=seconds, rate=rate, devices=devices, exact=exact, settings=settings)
    return CostEstimate(
        judge=f"{settings.model if settings.backend != 'scripted' else 'scripted'} ({settings.mode} mode)",
        lines=tuple(lines),
        calls=calls,
        cached=sum(line.cached for line in lines),
        prompt_tokens=prompt,
        new_tokens=new,
        most_new_tokens=most,
        at_most=at_most,
        rate=rate,
        seconds=seconds,
        devices=devices,
        device=device,
        device_hours=None if seconds is None or devices is None else seconds * devices / 3600,
        notes=tuple(notes),
    )


def _say_unknown(
    notes: list[str],
    *,
    seconds: float | None,
    rate: Rate | None,
    devices: int | None,
    exact: bool,
    settings: JudgeSettings,
) -> None:
    if seconds is None and rate is not None:
        notes.append("time is not known: the rate is in tokens, and the tokens are not known; --probe N tells both")
    elif seconds is None:
        notes.append("time is not known: no rate was measured; --probe N asks N questions, --rate T gives one")
    if devices is None:
        notes.append("GPU-hours are not known: nobody sees behind a server; --devices N says how many GPUs it has")
    if settings.backend == "endpoint":
        notes.append("a call is a question; reading a distribution may take the server several requests for one")
    if settings.mode == "critique" and settings.backend in ("transformers", "vllm") and not exact:
        notes.append(
            "each written critique is read once more for its verdict's probabilities; a probe's rate has it in"
        )
