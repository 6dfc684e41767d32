"""From settings to a rival that is asked in a way of its own (a chat rival is an ordinary judge: see `judges.load`).

This module imports torch only when a model in this process is asked for.
"""

from __future__ import annotations

from rewards.errors import InputError
from rewards.judges.base import Backend, Judge
from rewards.judges.config import JudgeSettings, RivalSettings
from rewards.judges.load import load_backend, merged_decoding
from rewards.judges.rivals.baselines import BaselineJudge
from rewards.judges.rivals.pandalm import PANDALM_CHAT, PANDALM_DECODING, PandaLMJudge
from rewards.judges.rivals.selfee import SELFEE_CHAT, SELFEE_DECODING, SelfeeCritic
from rewards.judges.rivals.templates import APPROXIMATE, PAIRWISE, SINGLE, read_template, shipped_template
from rewards.protocol.spec import ChatText, Template


def load_rival(settings: JudgeSettings, rival: RivalSettings) -> Judge:
    """The rival that the settings describe; raises InputError for a chat rival, none, and for what cannot be used."""
    match rival.kind:
        case "longer" | "random" | "first" | "second":
            return BaselineJudge(rival.kind, seed=rival.seed)
        case "pandalm":
            template = _template(rival) or shipped_template("pandalm")
            decoding = merged_decoding(PANDALM_DECODING, settings.decoding)
            backend = _writer(settings, PANDALM_CHAT)
            return PandaLMJudge(backend, template, decoding=decoding, warnings=_warnings(rival))
        case "selfee":
            template = _template(rival) or shipped_template("selfee")
            decoding = merged_decoding(SELFEE_DECODING, settings.decoding)
            backend = _writer(settings, SELFEE_CHAT)
            return SelfeeCritic(backend, template, decoding=decoding, warnings=_warnings(rival))
        case "steamshp" | "scalar":
            return _local_rival(settings, rival)
        case "none" | "chat":
            raise InputError(f"expected a rival with a way of its own to be asked, got {rival.kind}")


def _template(rival: RivalSettings) -> Template | None:
    if rival.template is None:
        return None
    return read_template(rival.template, SINGLE if rival.kind in ("selfee", "scalar") else PAIRWISE)


def _warnings(rival: RivalSettings) -> tuple[str, ...]:
    return () if rival.template is not None else (APPROXIMATE,)


def _writer(settings: JudgeSettings, chat: ChatText) -> Backend:
    if settings.backend == "scripted":
        raise InputError("expected backend transformers or endpoint for this rival, got scripted")
    return load_backend(settings, chat, trained=True)


def _local_rival(settings: JudgeSettings, rival: RivalSettings) -> Judge:
    if settings.backend != "transformers":
        raise InputError(f"expected backend transformers for rival.kind {rival.kind}, got {settings.backend}")
    from rewards.judges.local_model import load_model
    from rewards.judges.rivals.scalar import ScalarJudge
    from rewards.judges.rivals.steamshp import SteamSHPJudge

    template = _template(rival)
    model = load_model(
        settings.model,
        adapter=settings.adapter,
        dtype=settings.dtype,
        attention=settings.attention,
        head="seq2seq" if rival.kind == "steamshp" else "classifier",
        quantization=settings.quantization,
    )
    if rival.kind == "steamshp":
        return SteamSHPJudge(
            model,
            template or shipped_template("steamshp"),
            batch_size=settings.batch_size,
            max_prompt_tokens=settings.max_prompt_tokens,
            warnings=_warnings(rival),
        )
    return ScalarJudge(
        model,
        template=template,
        tie_threshold=rival.tie_threshold,
        batch_size=settings.batch_size,
        max_prompt_tokens=settings.max_prompt_tokens,
    )
