"""Fine-tuning a language model into a judge, with TRL's SFTTrainer.

Design decisions. The tokens are made here and not by the trainer: the question's are exactly those that the
in-process judge asks with (`rewards.judges.chat_tokens`), and the answer's are those that are read back. The loss is
on the answer and the end of its turn. An example that is too long is left out and counted, since a cut answer has
lost its verdict. Every checkpoint carries `judge_protocol.json`: any of them is a judge, asked in its own words.

torch, transformers and trl are imported inside functions. This module writes no recipe stage and measures no judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from judge_training.batches import batched_by_length, batched_by_prompt
from judge_training.examples import JudgeExample, read_examples, training_text
from judge_training.rating_targets import RatedTokens, rated_tokens
from judge_training.scenarios.catalog import Catalog
from judge_training.training_settings import JudgeTrainingSettings
from rewards.errors import InputError, RunError
from rewards.judges.chat_tokens import ChatEncoder
from rewards.judges.config import Attention, Dtype
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.render import Mode
from rewards.protocol.spec import JudgeProtocol
from rewards.protocol.write import rating_choices, verdict_choices
from rewards.training.arguments import FIXED, OURS, check_options, common_arguments, quiet_deprecations, refusals
from rewards.training.distributed import joined
from rewards.training.launch_settings import LaunchSettings
from rewards.training.running import TrainingResult, check_output, hold_out, run_trainer
from rewards.training.sharding import shards
from rewards.training.trainable import Trainable, choose_attention, load_trainable, weights_dtype

if TYPE_CHECKING:
    from transformers import TrainerCallback

IGNORED = -100
"""Label of a token that the loss leaves out."""

_OURS = OURS | {
    "weight_decay": "weight_decay",
    "adam_beta1": "adam_betas",
    "adam_beta2": "adam_betas",
    "packing": "packing",
    "eval_packing": "packing",
    "padding_free": "packing",
    "packing_strategy": "packing",
}
_FIXED = FIXED | {
    "dataset_text_field": "the job: examples are tokenised as the judge is asked",
    "dataset_kwargs": "the job: examples are tokenised as the judge is asked",
    "tf32": "the machine",
}


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """An example as a trainer sees it."""

    id: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    """With the token that ends the turn."""

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt_ids) + len(self.answer_ids)

    def row(self) -> dict[str, list[int]]:
        """Columns input_ids and labels, of the same length; labels of the question's tokens are -100."""
        return {
            "input_ids": [*self.prompt_ids, *self.answer_ids],
            "labels": [IGNORED] * len(self.prompt_ids) + list(self.answer_ids),
        }


Tokens = TokenizedExample | RatedTokens


@quiet_deprecations()
def train_judge(
    examples: Sequence[JudgeExample] | Path,
    *,
    model: str,
    output: Path,
    settings: JudgeTrainingSettings,
    protocol: JudgeProtocol | None = None,
    mode: Mode = "critique",
    catalog: Catalog | None = None,
    trl: Mapping[str, JsonValue] | None = None,
    adapter: Path | None = None,
    dtype: Dtype = "auto",
    attention: Attention = "auto",
    launch: LaunchSettings | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
) -> TrainingResult:
    """Fine-tune `model` on judgments and save the judge (an adapter, or all weights) with its protocol in `output`.

    examples: records, or the file of them; all must be judged.
    protocol: the words and the scale that the judge is trained in; the built-in one without it.
    mode: whether examples that have a critique are taught with it; see `judge_training.examples.training_text`.
    catalog: puts the criteria of an example's scenario before its question (they stay out without it).
    trl: further keys of TRL's SFTConfig.
    launch: with several processes, each of them must call this.
    resume: go on from the newest whole checkpoint in `output`, if there is one; the result is that of a run which was
        never stopped.

    Raises RunError without examples or at a NaN, InputError for settings or examples that cannot be used,
    MissingExtraError for a package that a setting needs, KeyboardInterrupt after a Ctrl-C with the step under way
    saved.
    """
    protocol, launch = protocol or builtin_protocol(), launch or LaunchSettings()
    with joined(launch) as sharding:
        # The file is read in here, since the first process may have written it while the others waited.
        found = list(read_examples(examples)) if isinstance(examples, Path) else list(examples)
        if not found:
            raise RunError("expected judgments to train on, got none; see `autoj collect`, or name another file")
        checkpoint = check_output(output, resume=resume, launch=launch)
        precision = weights_dtype(dtype, settings.tuning, own_master=shards(launch))
        packed = settings.loss_on != "rating" and packs(settings.packing, choose_attention(attention, precision))
        arguments = _arguments(settings, output, dtype=dtype, trl=trl or {}, packing=packed, **sharding)
        judge = load_trainable(
            model,
            adapter,
            tuning=settings.tuning,
            lora=settings.lora,
            dtype=dtype,
            attention=attention,
            four_bit=settings.four_bit,
            own_master=shards(launch),
        )
        kept = _that_fit(
            _tokens(found, judge.tokenizer, protocol, settings, mode=mode, catalog=catalog), settings.max_length
        )
        apart = hold_out([example.prompt.id for example in found], settings.eval_fraction, settings.seed)
        held_out = {example.id for example in found if example.prompt.id in apart}
        rows = [one for one in kept if one.id not in held_out]
        if not rows:
            raise InputError(
                f"expected examples to train on of at most max_length = {settings.max_length} tokens, but all that "
                "fit are of held-out prompts; raise max_length"
            )
        if settings.rank_weight:
            prompts = {example.id: example.prompt.id for example in found}
            asked = [prompts[one.id] for one in rows]
            rows = batched_by_prompt(
                rows, asked, settings.batch_size, settings.seed, by_length=settings.batch_by_length
            )
        elif settings.batch_by_length:
            rows = batched_by_length(rows, settings.batch_size, settings.seed)
        trainer = _trainer(judge, arguments, rows, [one for one in kept if one.id in held_out], settings)
        return run_trainer(
            trainer,
            kind="judge",
            model=model,
            output=output,
            settings=settings,
            checkpoint=checkpoint,
            callbacks=callbacks,
            examples=len(rows),
            left_out=len(found) - len(kept),
            packed=packed,
            finish=protocol.save,
        )


def _tokens(
    examples: Sequence[JudgeExample],
    tokenizer: Any,
    protocol: JudgeProtocol,
    settings: JudgeTrainingSettings,
    *,
    mode: Mode,
    catalog: Catalog | None,
) -> Sequence[Tokens]:
    if settings.loss_on == "rating":
        if mode != "direct":
            raise InputError(
                f"expected `mode: direct` with `loss_on: rating`, got {mode}: no critique would be learned"
            )
        encoder = ChatEncoder(tokenizer, protocol.chat)
        return rated_tokens(examples, encoder, protocol, catalog=catalog, length_penalty=settings.length_penalty)
    return tokenize(examples, tokenizer, protocol, mode=mode, catalog=catalog, loss_on=settings.loss_on)


def tokenize(
    examples: Sequence[JudgeExample],
    tokenizer: Any,
    protocol: JudgeProtocol,
    *,
    mode: Mode = "critique",
    catalog: Catalog | None = None,
    loss_on: Literal["answer", "verdict"] = "answer",
) -> list[TokenizedExample]:
    """Every example in the tokens that the judge is asked with and should answer with.

    loss_on: with `verdict` the beginning of the answer, up to where verdicts differ, is part of the question, as it is
    when their distribution is read. Raises InputError for it in critique mode.
    """
    if loss_on == "verdict" and mode != "direct":
        raise InputError(
            f"expected `mode: direct` with `loss_on: verdict`, got {mode}: a critique would not be learned"
        )
    encoder = ChatEncoder(tokenizer, protocol.chat)
    tokenized = []
    for example in examples:
        text = training_text(example, protocol, mode=mode, catalog=catalog)
        asked, answer = (
            encoder.answered(text.prompt, text.completion)
            if loss_on == "answer"
            else _verdict_tokens(encoder, example, text.prompt, protocol)
        )
        tokenized.append(TokenizedExample(example.id, tuple(asked), tuple(answer)))
    return tokenized


def _verdict_tokens(
    encoder: ChatEncoder, example: JudgeExample, question: str, protocol: JudgeProtocol
) -> tuple[Sequence[int], Sequence[int]]:
    """The context in which the verdict's distribution is read, and the tokens of this verdict with what closes it."""
    asking = protocol.single if protocol.pairwise is None or example.kind == "single" else protocol.pairwise
    choices: Mapping[str, object] = rating_choices(protocol) if example.kind == "single" else verdict_choices(protocol)
    tokens = encoder.choices(question, asking.answer_start, tuple(choices), asking.answer_end)
    verdict = example.rating if example.kind == "single" else example.label
    return tokens.context, tokens.sequences[list(choices.values()).index(verdict)]


def packs(wanted: bool | None, attention: str) -> bool:
    """Whether examples are packed into rows; only FlashAttention 2 keeps the examples of a row apart.

    Raises InputError when packing was asked for with another attention.
    """
    keeps_apart = attention == "flash_attention_2"
    if wanted and not keeps_apart:
        raise InputError(
            f"expected FlashAttention 2 (GPU, bfloat16, package flash-attn) for `packing: true`, got {attention}: "
            "examples in one row would see each other; leave packing out to pad where they cannot be kept apart"
        )
    return keeps_apart if wanted is None else wanted


def _that_fit(tokenized: Sequence[Tokens], max_length: int) -> list[Tokens]:
    kept = [one for one in tokenized if one.length <= max_length]
    if not kept:
        shortest = min(one.length for one in tokenized)
        raise InputError(
            f"expected examples of at most max_length = {max_length} tokens, but the shortest of {len(tokenized)} has "
            f"{shortest}. Raise max_length"
        )
    return kept


def _arguments(
    settings: JudgeTrainingSettings,
    output: Path,
    *,
    dtype: Dtype,
    trl: Mapping[str, JsonValue],
    packing: bool,
    **sharding: Any,
) -> Any:
    """TRL's SFTConfig from our settings, what is fixed, and the checked `trl:` block."""
    import torch
    from trl import SFTConfig

    own = {
        "lr_scheduler_type": "cosine",
        "weight_decay": settings.weight_decay,
        "adam_beta1": settings.adam_betas[0],
        "adam_beta2": settings.adam_betas[1],
        "packing": packing,
        "eval_packing": False,
        "packing_strategy": "bfd",
        "dataset_kwargs": {"skip_prepare_dataset": not packing},  # the rows are tokenised, labelled and fit
        "tf32": True if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0) else None,
    }
    ours = _OURS
    if settings.batch_by_length or settings.rank_weight:
        by = "batch_by_length" if settings.batch_by_length else "rank_weight"
        own["train_sampling_strategy"] = "sequential"
        ours = ours | dict.fromkeys(("train_sampling_strategy", "shuffle_dataset"), by)
    extra = check_options(SFTConfig, trl, ours=ours, fixed=_FIXED)
    with refusals("the training settings"):
        return SFTConfig(**(common_arguments(settings, output, dtype=dtype) | own | sharding | extra))


def _trainer(
    judge: Trainable,
    arguments: Any,
    rows: Sequence[Tokens],
    held_out: Sequence[Tokens],
    settings: JudgeTrainingSettings,
) -> Any:
    import torch
    from datasets import Dataset
    from trl import SFTTrainer

    from judge_training.labelled_positions import score_labelled_only
    from judge_training.rating_trainer import RatingTrainer

    given = {
        "model": judge.model,
        "args": arguments,
        "train_dataset": Dataset.from_list([one.row() for one in rows]),
        "eval_dataset": Dataset.from_list([one.row() for one in held_out]) if held_out else None,
        "processing_class": judge.tokenizer,
        "peft_config": judge.peft_config,
    }
    with refusals("these examples with this model"):
        if isinstance(rows[0], RatedTokens):
            return RatingTrainer(scale=rows[0].scale, rank_weight=settings.rank_weight, **given)
        trainer = SFTTrainer(**given)
    if not torch.cuda.is_available():
        score_labelled_only(judge.model)
    return trainer
