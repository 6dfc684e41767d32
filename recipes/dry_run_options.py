"""What a user says of an estimate beside `--dry-run`. Imports nothing heavy, and estimates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewards.errors import InputError


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
