"""What is selected and how pairs are made, as settings. Imports no polars: recipes and `--help` read it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rewards.judges.config import Settings

SelectMethod = Literal["best_of_n", "top_k", "threshold", "top_fraction"]
_PARAMETERS: dict[SelectMethod, str | None] = {
    "best_of_n": None,
    "top_k": "k",
    "threshold": "threshold",
    "top_fraction": "fraction",
}


class SelectSettings(Settings):
    """Which candidates to keep."""

    method: SelectMethod = "best_of_n"
    """The best of each prompt; the k best of each prompt; all above a threshold; the top fraction of all."""
    k: int | None = Field(default=None, ge=1)
    """Candidates kept of each prompt by top_k."""
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Least reward of a kept candidate; every method takes it, the method `threshold` needs it."""
    fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of the usable candidates of all prompts kept by top_fraction (rounded up)."""
    per_scenario_quota: int | None = Field(default=None, ge=1)
    """Most rows kept of one scenario, highest rewards first; rows without a scenario share one quota."""
    near_duplicates: float | None = Field(default=None, gt=0.0, le=1.0)
    """Similarity (Jaccard index of word triples) from which the candidate with the lower reward is dropped."""
    near_duplicates_across_prompts: bool = False
    """Look for near duplicates in the whole table, and not only within a prompt."""
    seed: int = 0
    """Decides, with the ids, between equal rewards."""

    @model_validator(mode="after")
    def _fits_method(self) -> Self:
        needed = _PARAMETERS[self.method]
        values = {"k": self.k, "threshold": self.threshold, "fraction": self.fraction}
        if needed is not None and values[needed] is None:
            raise ValueError(f"expected a value for {needed} with the method {self.method}, got none")
        for name in ("k", "fraction"):
            if values[name] is not None and name != needed:
                raise ValueError(f"expected no {name} with the method {self.method}, got {values[name]}")
        if self.near_duplicates_across_prompts and self.near_duplicates is None:
            raise ValueError("expected a similarity in near_duplicates to look for them across prompts, got none")
        return self


PairMethod = Literal["best_worst", "best_random", "best_second", "all"]


class PairSettings(Settings):
    """Which preference pairs to make."""

    method: PairMethod = "best_worst"
    """The best candidate of a prompt against its worst, against a random worse one, or against the second best;
    or all pairs of its candidates."""
    min_margin: float = Field(default=1e-6, gt=0.0, allow_inf_nan=False)
    """Least reward of the chosen less reward of the rejected; never 0, so tied candidates make no pair."""
    swap_consistent: bool = False
    """Keep only pairs that a comparison confirms, with the same verdict in both orders."""
    length_matched: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest difference in length, as a share of the longer response (tokens where both are counted, else
    characters)."""
    near_duplicates: float | None = Field(default=None, gt=0.0, le=1.0)
    """Similarity (Jaccard index of word triples) from which the candidate with the lower reward is left out."""
    max_pairs_per_prompt: int | None = Field(default=None, ge=1)
    """Most pairs of one prompt, largest margins first."""
    seed: int = 0
    """Decides, with the ids, between equal rewards, and which candidate is the random one."""
