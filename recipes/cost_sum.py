"""From counted questions and a rate to the whole estimate: tokens, time, hours of devices, and what is not known.

Who is asked does not matter here: a judge, or the policy that a job samples from.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipes.dry_run_options import Options
from rewards.judging_cost import CostEstimate, CostLine, Probe, Rate, seconds_for


def given_rate(options: Options) -> Rate | None:
    """The rate that the user gave."""
    return None if options.rate is None else Rate(tokens_per_second=options.rate, source="as given by --rate")


def sum_up(
    who: str,
    lines: Sequence[CostLine],
    rate: Rate | None,
    options: Options,
    notes: Sequence[str],
    found: Probe | None,
    longest: int,
    devices: tuple[int | None, str],
) -> CostEstimate:
    """The estimate of all lines.

    found: the probe, whose answers say how long answers are; longest: most tokens of an answer, 0 where none is
    written; devices: how many are occupied, None where nobody can tell, and what they are.
    """
    said, calls = list(notes), sum(line.calls for line in lines)
    prompt = None if any(one.prompt_tokens is None for one in lines) else sum(one.prompt_tokens or 0 for one in lines)
    new = _new_tokens(calls, longest, found, said)
    most = calls * longest
    tokens = None if prompt is None else prompt + (most if new is None else new)
    seconds = seconds_for(rate, calls, tokens)
    count, device = devices
    if options.devices is not None:
        count, device = options.devices, "GPU" if device == "GPU" else "device"
    _say_unknown(said, seconds, rate, count)
    return CostEstimate(
        judge=who,
        lines=tuple(lines),
        calls=calls,
        cached=sum(line.cached for line in lines),
        prompt_tokens=prompt,
        new_tokens=new,
        most_new_tokens=most,
        at_most=any(line.at_most for line in lines) or new is None,
        rate=rate,
        seconds=seconds,
        devices=count,
        device=device,
        device_hours=None if seconds is None or count is None else seconds * count / 3600,
        notes=tuple(said),
    )


def _new_tokens(calls: int, longest: int, found: Probe | None, notes: list[str]) -> int | None:
    """Tokens of all answers, as the probed ones had; None without a probe that wrote."""
    if longest == 0 or calls == 0:
        return 0
    if found is not None and found.new_tokens:
        notes.append(f"new tokens: as many an answer as the {found.questions} probed ones had")
        return round(calls * found.new_tokens / found.questions)
    notes.append(f"new tokens are not known: at most {longest} an answer; --probe N tells what they are")
    return None


def _say_unknown(notes: list[str], seconds: float | None, rate: Rate | None, devices: int | None) -> None:
    if seconds is None and rate is not None:
        notes.append("time is not known: the rate is in tokens, and the tokens are not known; --probe N tells both")
    elif seconds is None:
        notes.append("time is not known: no rate was measured; --probe N asks N questions, --rate T gives one")
    if devices is None:
        notes.append("GPU-hours are not known: nobody sees behind a server; --devices N says how many GPUs it has")
