"""What a user says of a judge, as typed settings. Imports no torch: recipes and `--help` read it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_MODEL = "smollm2-135m-instruct"
"""The embedded default model, by the name that every `model` setting accepts."""

DEFAULT_JUDGE = "autoj-mini"
"""The small judge that ships, an adapter on the embedded default model."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2"]
Quantization = Literal["none", "bnb-4bit", "bnb-8bit", "int8"]


class Settings(BaseModel):
    """Base of all settings: no unknown keys, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DecodingSettings(Settings):
    """Overrides of the protocol's decoding; what is left out is the protocol's."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """Token limit of the judge's answer."""
    temperature: float | None = Field(default=None, ge=0.0)
    """0 is greedy."""
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    """Nucleus of the draw."""
    samples: int | None = Field(default=None, ge=1)
    """Draws for each question (self-consistency); more than 1 needs a temperature above 0."""
    seed: int | None = None
    """Seed of the draws."""


class EndpointSettings(Settings):
    """An OpenAI-compatible server."""

    base_url: str = "http://127.0.0.1:8000/v1"
    """Address of the server, up to and with /v1."""
    api: Literal["chat", "completions"] = "chat"
    """Which of the two APIs to call; `completions` takes the judge's own chat wrapping and can score strings."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key (never the key itself)."""
    concurrency: int = Field(default=16, ge=1, le=4096)
    """Requests under way at once."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds before a request counts as failed."""
    max_retries: int = Field(default=3, ge=0)
    """Retries by the client before a request counts as failed."""
    top_logprobs: int = Field(default=20, ge=0, le=20)
    """Alternatives asked for at every token; 0 asks for none, and then there are no expected ratings."""


class VllmSettings(Settings):
    """vLLM in this process (recipes/filter/README.md); the same keys on GPUs and CPUs. Prefixes are always shared."""

    max_model_len: int | None = Field(default=None, ge=16)
    """Tokens of a question and its answer at most; null is the model's own limit."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0.0, le=1.0)
    """Share of the GPU's memory (on a CPU, of the machine's) for weights and key-value cache."""
    kv_cache_gb: float | None = Field(default=None, gt=0.0)
    """Size of the key-value cache in GiB, instead of what the share above leaves for it."""
    enforce_eager: bool = False
    """Do not compile and do not capture CUDA graphs: slower judging, a faster start."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that one model is spread over."""
    window: int = Field(default=1024, ge=1)
    """Questions given to the engine at once; their answers come together, so a killed job asks as many again."""


RivalKind = Literal["none", "chat", "pandalm", "selfee", "steamshp", "scalar", "longer", "random", "first", "second"]

_RIVAL_KEYS: dict[str, tuple[RivalKind, ...]] = {
    "chat": ("chat",),
    "template": ("pandalm", "selfee", "steamshp", "scalar"),
    "tie_threshold": ("scalar",),
    "seed": ("random",),
}


class RivalSettings(Settings):
    """The judge as one of the rivals that AUTO-J was compared with (see rewards/judges/rivals/README.md)."""

    kind: RivalKind = "none"
    """none: an ordinary judge. chat: any chat model, its verdict read leniently. pandalm, steamshp: compare only;
    selfee: writes feedback only; scalar: a reward model that scores. longer, random, first, second: floors."""
    chat: Literal["tokenizer", "llama-2", "vicuna", "wizardlm"] = "tokenizer"
    """Conversation around the question of a chat rival: the tokenizer's or server's own, or one written out."""
    template: Path | None = None
    """Text file with the prompt that the rival was trained on, with {{query}} and its like; else an approximation."""
    tie_threshold: float = Field(default=0.0, ge=0.0)
    """Scores of a scalar rival that differ by no more than this are a tie; 0 ties equal scores only."""
    seed: int = 0
    """Seed of the random rival."""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for key in sorted(self.model_fields_set - {"kind"}):
            if self.kind not in _RIVAL_KEYS[key] and dict(self)[key] != type(self).model_fields[key].default:
                raise ValueError(f"expected {key} only with kind {' or '.join(_RIVAL_KEYS[key])}, got {self.kind}")
        return self


class RaySettings(Settings):
    """A Ray cluster whose actors do the work (extra `ray`)."""

    address: str | None = None
    """Of a cluster that runs (`auto`, or HOST:PORT); null starts one on this machine."""
    min_actors: int = Field(default=1, ge=1)
    """Actors to begin with; each loads the model once."""
    max_actors: int = Field(default=2, ge=1)
    """Actors at most, when there is work and room for them."""
    chunk: int = Field(default=32, ge=1)
    """Items that travel together; what an actor that dies had under way is done again."""
    cpus: float = Field(default=1.0, gt=0.0)
    """Processors that Ray sets aside for an actor."""
    gpus: float = Field(default=0.0, ge=0.0)
    """GPUs that Ray sets aside for an actor."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_actors < self.min_actors:
            raise ValueError(
                f"expected max_actors of at least min_actors, got {self.max_actors} and {self.min_actors}"
            )
        return self


class JudgeSettings(Settings):
    """Which judge, and how it is asked."""

    backend: Literal["transformers", "vllm", "endpoint", "scripted"] = "transformers"
    """Model in this process (by transformers or by vLLM), OpenAI-compatible server, or the rule-based demo judge."""
    model: str = DEFAULT_JUDGE
    """A folder, a hub id, autoj-mini (the judge that ships), or the model's name on the server."""
    adapter: Path | None = None
    """Folder of a LoRA adapter to put on the model; without a model, on the base that it names."""
    protocol: Path | None = None
    """A judge_protocol.json or its folder; without it the checkpoint's own, else the built-in one."""
    mode: Literal["critique", "direct"] = "direct"
    """Write a critique and then the verdict, or read the verdict's distribution at once."""
    decoding: DecodingSettings = DecodingSettings()
    """Overrides of the protocol's decoding."""
    require_expected: bool = False
    """A rating whose expected value the backend cannot tell counts as failed, and a server that reports no
    probabilities is refused at the start; else the written rating stands alone, and the card warns."""
    dtype: Dtype = "auto"
    """auto: bfloat16 on a GPU that has it, else float32."""
    quantization: Quantization = "none"
    """Hold the weights in fewer bits: bnb-4bit, bnb-8bit (bitsandbytes) or int8 (torchao, also on CPUs); a checkpoint
    that is stored quantised, such as a GPTQ one, is known by its files and needs none."""
    attention: Attention = "auto"
    """auto: FlashAttention 2 where it is installed and on CUDA, else SDPA."""
    batch_size: int = Field(default=8, ge=1)
    """Questions that the in-process judge answers at the same time."""
    max_prompt_tokens: int = Field(default=4096, ge=16)
    """A longer question is not cut but counted as prompt_too_long."""
    rule: Literal["longer", "shorter", "keyword"] = "longer"
    """The scripted judge's rule (for demos and tests)."""
    endpoint: EndpointSettings = EndpointSettings()
    """The server, when the backend is `endpoint`."""
    vllm: VllmSettings = VllmSettings()
    """The engine, when the backend is `vllm`."""
    engine: Literal["local", "ray"] = "local"
    """Where it judges: in this process, or in the actors of a Ray cluster."""
    ray: RaySettings = RaySettings()
    """The cluster, with engine `ray`."""
    rival: RivalSettings = RivalSettings()
    """Ask the model as one of AUTO-J's rivals is asked."""
    cache: Path | None = None
    """SQLite file of finished judgments; the recipes put one into the run folder."""

    @model_validator(mode="after")
    def _expected_is_asked_for(self) -> Self:
        if self.require_expected and self.backend == "endpoint" and self.endpoint.top_logprobs == 0:
            raise ValueError("expected endpoint.top_logprobs above 0 with require_expected, got 0; leave it at 20")
        return self

    @model_validator(mode="after")
    def _the_engine_gets_what_it_takes(self) -> Self:
        if self.backend != "vllm":
            return self
        if self.attention != "auto":
            raise ValueError(f"expected attention auto with backend vllm, which chooses its own, got {self.attention}")
        gpus, wanted = self.ray.gpus, self.vllm.tensor_parallel_size
        if self.engine == "ray" and gpus not in (0, wanted):
            raise ValueError(
                f"expected ray.gpus {wanted}, as many as vllm.tensor_parallel_size (or 0 on CPUs), got {gpus:g}: "
                "an actor's engine takes whole GPUs"
            )
        return self

    @model_validator(mode="after")
    def _weights_are_here_to_quantise(self) -> Self:
        if self.quantization != "none" and self.backend != "transformers":
            raise ValueError(
                f"expected backend transformers with quantization {self.quantization}, got {self.backend}: a server "
                "quantises its own weights, and vLLM takes a checkpoint that is stored quantised; leave it out"
            )
        return self
