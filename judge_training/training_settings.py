"""What a user says of training a judge, beside what every training job has. Imports no torch and no trl.

The published judge's own setting (full tuning of 13 billion parameters on eight GPUs) is a recipe, and no default:
the defaults here suit LoRA on one device.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rewards.training.settings import TrainingSettings


class JudgeTrainingSettings(TrainingSettings):
    """Supervised fine-tuning on judgments; the loss is on the judge's answer only."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak of the schedule, a cosine with linear warm-up."""
    warmup: float = Field(default=0.03, ge=0)
    """Share of the steps before the peak when below 1, else their number."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's decay."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the two moments."""
    max_length: int = Field(default=4096, ge=2)
    """Tokens of question and answer together; a longer example is left out and counted, never cut."""
    packing: bool | None = None
    """Several examples in one row without padding; null packs where FlashAttention 2 keeps them apart, else pads."""
    loss_on: Literal["answer", "verdict", "rating"] = "answer"
    """answer: all of it. verdict: in direct mode, only the tokens that tell the verdicts apart; such a judge is asked
    by their probabilities, since it was not taught to write the rest. rating: the same for ratings alone, of which a
    mean between two of the scale is taught as both in proportion."""
    rank_weight: float = Field(default=0.0, ge=0.0)
    """With `loss_on: rating`, the weight of a ranking loss between the expected ratings of responses to one prompt;
    a batch then holds responses to one prompt."""
    length_penalty: float = Field(default=0.0, ge=0.0)
    """With `loss_on: rating`, against a judge that prefers the longer of two equally good responses: points that a
    rating to learn loses for every e-fold (2.7 times) of its response's characters over the geometric mean of its
    prompt's examples, and gains below it."""
    batch_by_length: bool = False
    """Examples of similar length in a batch, batches in an order drawn once: less padding; the same every epoch. With
    `rank_weight` those of one prompt, so that length does not tell which of them is better."""
    four_bit: bool = False
    """QLoRA: hold the frozen weights in 4 bits (bitsandbytes, CUDA)."""

    @model_validator(mode="after")
    def _four_bit_is_lora(self) -> JudgeTrainingSettings:
        if self.four_bit and self.tuning == "full":
            raise ValueError("expected `tuning: lora` with `four_bit`: weights held in 4 bits cannot be trained")
        return self

    @model_validator(mode="after")
    def _ratings_are_padded(self) -> JudgeTrainingSettings:
        if self.packing and self.loss_on == "rating":
            raise ValueError("expected no `packing: true` with `loss_on: rating`, which reads every row at its end")
        return self

    @model_validator(mode="after")
    def _learns_ratings(self) -> JudgeTrainingSettings:
        if self.rank_weight and (self.loss_on != "rating" or self.batch_size < 2):
            raise ValueError(
                "expected `loss_on: rating` and a batch_size of 2 or more with `rank_weight`: it compares the ratings "
                "of a batch, which holds responses to one prompt"
            )
        if self.length_penalty and self.loss_on != "rating":
            raise ValueError("expected `loss_on: rating` with `length_penalty`: it changes ratings to learn")
        return self
