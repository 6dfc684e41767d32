"""Judgments and how they become rewards: the leaf package of autoj.

    from rewards import JudgeReward, load_judge

The names below are the public ones. They are loaded when they are first used, so that `import rewards` brings neither
torch nor polars nor an HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewards.budget import FailureBudget
    from rewards.designs import pairs_for
    from rewards.errors import AutojError, FailureBudgetError, InputError, JudgeUnavailableError, StorageError
    from rewards.judges.base import Backend, CompareItem, Judge, JudgeCard, RateItem
    from rewards.judges.cache import JudgmentCache
    from rewards.judges.config import DecodingSettings, EndpointSettings, JudgeSettings
    from rewards.judges.generative import GenerativeJudge
    from rewards.judges.load import load_judge
    from rewards.judges.scripted import ScriptedBackend, rule_backend
    from rewards.protocol.builtin import builtin_protocol
    from rewards.protocol.spec import Decoding, JudgeProtocol
    from rewards.ratings import LengthTerm, rewards_from_ratings
    from rewards.reward_function import JudgeReward
    from rewards.types import (
        Abstained,
        Candidate,
        Comparison,
        Judgment,
        Message,
        Pair,
        Prompt,
        Rating,
        Reward,
        Unparsed,
        Unscored,
        Verdict,
        VerdictProbabilities,
    )
    from rewards.verdicts import fit_bradley_terry, order_agreement, resolve, rewards_from_comparisons, win_rates

_MODULES = {
    "rewards.budget": ("FailureBudget",),
    "rewards.designs": ("pairs_for",),
    "rewards.errors": ("AutojError", "FailureBudgetError", "InputError", "JudgeUnavailableError", "StorageError"),
    "rewards.judges.base": ("Backend", "CompareItem", "Judge", "JudgeCard", "RateItem"),
    "rewards.judges.cache": ("JudgmentCache",),
    "rewards.judges.config": ("DecodingSettings", "EndpointSettings", "JudgeSettings"),
    "rewards.judges.generative": ("GenerativeJudge",),
    "rewards.judges.load": ("load_judge",),
    "rewards.judges.scripted": ("ScriptedBackend", "rule_backend"),
    "rewards.protocol.builtin": ("builtin_protocol",),
    "rewards.protocol.spec": ("Decoding", "JudgeProtocol"),
    "rewards.ratings": ("LengthTerm", "rewards_from_ratings"),
    "rewards.reward_function": ("JudgeReward",),
    "rewards.types": (
        "Abstained",
        "Candidate",
        "Comparison",
        "Judgment",
        "Message",
        "Pair",
        "Prompt",
        "Rating",
        "Reward",
        "Unparsed",
        "Unscored",
        "Verdict",
        "VerdictProbabilities",
    ),
    "rewards.verdicts": (
        "fit_bradley_terry",
        "order_agreement",
        "resolve",
        "rewards_from_comparisons",
        "win_rates",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Abstained",
    "AutojError",
    "Backend",
    "Candidate",
    "CompareItem",
    "Comparison",
    "Decoding",
    "DecodingSettings",
    "EndpointSettings",
    "FailureBudget",
    "FailureBudgetError",
    "GenerativeJudge",
    "InputError",
    "Judge",
    "JudgeCard",
    "JudgeProtocol",
    "JudgeReward",
    "JudgeSettings",
    "JudgeUnavailableError",
    "Judgment",
    "JudgmentCache",
    "LengthTerm",
    "Message",
    "Pair",
    "Prompt",
    "RateItem",
    "Rating",
    "Reward",
    "ScriptedBackend",
    "StorageError",
    "Unparsed",
    "Unscored",
    "Verdict",
    "VerdictProbabilities",
    "builtin_protocol",
    "fit_bradley_terry",
    "load_judge",
    "order_agreement",
    "pairs_for",
    "resolve",
    "rewards_from_comparisons",
    "rewards_from_ratings",
    "rule_backend",
    "win_rates",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'rewards' has no attribute {name!r}")
    value: object = vars(import_module(_HOME[name]))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
