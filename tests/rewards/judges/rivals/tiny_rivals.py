"""Tiny checkpoints of the rivals' architectures with random weights, built in code."""

from __future__ import annotations

import shutil
from pathlib import Path

from rewards.judges.base import CompareItem, RateItem
from rewards.types import Candidate, Message, Prompt

PROMPT = Prompt(id="p", messages=(Message(role="user", content="Which answer is better?"),))


def rate_item(text: str, name: str) -> RateItem:
    return RateItem(prompt=PROMPT, candidate=Candidate(id=name, prompt_id="p", text=text))


def pair(first: str, second: str, name: str = "") -> CompareItem:
    one, two = (Candidate(id=f"{name}{i}", prompt_id="p", text=text) for i, text in ((1, first), (2, second)))
    return CompareItem(prompt=PROMPT, first=one, second=two)


def build_tiny_t5(tiny_model: Path, folder: Path) -> Path:
    """A tiny encoder-decoder; its tokenizer closes every text, as T5's does."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"$A {end[0]}", special_tokens=[end])
    tokenizer.model_max_length = 512
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        initializer_factor=1.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tiny_reward_model(tiny_model: Path, folder: Path, *, pad: bool = True, labels: int = 1) -> Path:
    """A tiny Llama with a sequence-classification head, and the tiny model's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    (folder / "generation_config.json").unlink()
    config = LlamaConfig.from_pretrained(tiny_model)
    config.num_labels = labels
    config.pad_token_id = config.pad_token_id if pad else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder
