"""Judges in fewer bits. What needs a library that is not installed is skipped, and says which extra brings it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rewards.errors import InputError, MissingExtraError
from rewards.judges import quantized
from rewards.judges.base import RateItem
from rewards.judges.config import JudgeSettings, Quantization, RivalSettings
from rewards.judges.load import load_generative_judge, load_judge
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.quantized import StoredQuantization, check_quantization, stored_options, stored_quantization
from rewards.judges.weights_digest import folder_digest
from rewards.types import Candidate, Message, Prompt, Rating
from tests.gptq_model import OLD_NAME, OLD_SETTINGS, GPTQModels, build_gptq_models
from tests.rewards.judges.test_local_model import logits, make_adapter
from tests.tiny_model import build_tiny_model


def needs(extra: str, *packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install 'autoj[{extra}]'")


needs_gptq = needs("gptq", "gptqmodel", "optimum")
needs_bnb = needs("quantized", "bitsandbytes")
needs_int8 = needs("int8", "torchao")
AT_LOADING = [
    pytest.param("bnb-4bit", marks=needs_bnb),
    pytest.param("bnb-8bit", marks=needs_bnb),
    pytest.param("int8", marks=needs_int8),
]


@pytest.fixture(scope="module")
def gptq(tmp_path_factory: pytest.TempPathFactory) -> GPTQModels:
    return build_gptq_models(tmp_path_factory.mktemp("gptq"))


@pytest.fixture
def old(gptq: GPTQModels, tmp_path: Path) -> Path:
    """A checkpoint in the older layout, to break."""
    folder = tmp_path / "old"
    folder.mkdir()
    for file in gptq.old.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose layers are wide enough for blocks of 64 weights."""
    return build_tiny_model(tmp_path_factory.mktemp("wide"), hidden=64)


def drop_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized.importlib.util, "find_spec", lambda name: None)


# ---------------------------------------------------------------- which checkpoints are quantised


def test_both_layouts_of_gptq_are_known(gptq: GPTQModels) -> None:
    assert stored_quantization(gptq.new) == StoredQuantization("gptq", 4)
    found = stored_quantization(gptq.old)
    assert found is not None
    assert (found.method, found.bits, found.weights) == ("gptq", 4, OLD_NAME)
    assert stored_quantization(gptq.dequantized) is None


def test_the_older_layout_is_told_to_transformers_as_the_newer_one(gptq: GPTQModels) -> None:
    found = stored_quantization(gptq.old)
    assert found is not None
    config = stored_options(found, gptq.old)["config"]
    said = json.loads((gptq.new / "config.json").read_text())["quantization_config"]
    assert said.items() <= config.quantization_config.items()
    assert config.transformers_weights == OLD_NAME
    newer = stored_quantization(gptq.new)
    assert newer is not None
    assert stored_options(newer, gptq.new) == {}


def test_the_weights_of_the_newer_layout_may_have_the_older_name(gptq: GPTQModels, old: Path) -> None:
    (old / "quantize_config.json").unlink()
    (old / "config.json").write_bytes((gptq.new / "config.json").read_bytes())
    assert stored_quantization(old) == StoredQuantization("gptq", 4, weights=OLD_NAME)


def test_of_several_files_of_weights_the_named_one_is_taken(old: Path) -> None:
    (old / "other.safetensors").write_bytes((old / OLD_NAME).read_bytes())
    with pytest.raises(InputError, match="model_file_base_name"):
        stored_quantization(old)
    settings = old / "quantize_config.json"
    settings.write_text(json.dumps(OLD_SETTINGS | {"model_file_base_name": "other"}))
    found = stored_quantization(old)
    assert found is not None
    assert found.weights == "other.safetensors"
    settings.write_text(json.dumps(OLD_SETTINGS | {"model_file_base_name": "../other"}))
    with pytest.raises(InputError, match="none of that name"):
        stored_quantization(old)


def test_an_index_of_parts_is_taken_before_the_parts(old: Path) -> None:
    (old / OLD_NAME).rename(old / "gptq_model-00001-of-00002.safetensors")
    (old / "gptq_model-00002-of-00002.safetensors").write_bytes(b"")
    (old / "gptq_model.safetensors.index.json").write_text("{}")
    found = stored_quantization(old)
    assert found is not None
    assert found.weights == "gptq_model.safetensors.index.json"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"bits": 4', "could not read"),
        ("[4]", "expected a JSON object"),
        ('{"bits": 5, "group_size": 128, "desc_act": false}', "bits"),
        ('{"bits": 4, "group_size": 128}', "desc_act"),
        ('{"w_bit": 4, "q_group_size": 128}', "GPTQ"),
        ('{"bits": 4, "group_size": 128, "desc_act": false, "quant_method": "awq"}', "quant_method"),
    ],
)
def test_settings_that_are_not_gptqs_are_refused(text: str, said: str, old: Path) -> None:
    (old / "quantize_config.json").write_text(text)
    with pytest.raises(InputError, match=said):
        load_model(str(old))


def test_a_pickled_gptq_checkpoint_is_refused(old: Path) -> None:
    (old / OLD_NAME).rename(old / OLD_NAME.replace(".safetensors", ".bin"))
    with pytest.raises(InputError, match="pickle"):
        load_model(str(old))


# ---------------------------------------------------------------- what cannot be had together, or is not installed


@pytest.mark.parametrize("wanted", ["bnb-4bit", "bnb-8bit", "int8"])
def test_what_is_quantised_is_not_quantised_again(wanted: Quantization, gptq: GPTQModels) -> None:
    for layout in (gptq.new, gptq.old):
        with pytest.raises(InputError, match=r"quantised already \(gptq, 4 bits\)"):
            load_model(str(layout), quantization=wanted)


@pytest.mark.parametrize(
    ("wanted", "stored", "said"),
    [
        ("bnb-4bit", None, r"bitsandbytes: run `pip install 'autoj\[quantized\]'`"),
        ("bnb-8bit", None, r"bitsandbytes: run `pip install 'autoj\[quantized\]'`"),
        ("int8", None, r"torchao: run `pip install 'autoj\[int8\]'`"),
        ("none", StoredQuantization("gptq", 4), r"gptqmodel and optimum: run `pip install 'autoj\[gptq\]'`"),
        ("none", StoredQuantization("bitsandbytes"), r"bitsandbytes: run `pip install 'autoj\[quantized\]'`"),
    ],
)
def test_a_missing_package_names_its_extra(
    wanted: Quantization, stored: StoredQuantization | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_packages(monkeypatch)
    with pytest.raises(MissingExtraError, match=said):
        check_quantization(wanted, stored, "mine")


def test_a_gptq_judge_without_its_library_says_so_before_it_loads(
    gptq: GPTQModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_packages(monkeypatch)
    for layout in (gptq.new, gptq.old):
        with pytest.raises(MissingExtraError, match=r"autoj\[gptq\]"):
            load_judge(model=str(layout))


def test_only_the_in_process_backend_quantises() -> None:
    for backend in ("endpoint", "scripted"):
        with pytest.raises(InputError, match="expected backend transformers with quantization bnb-4bit"):
            load_judge(backend=backend, quantization="bnb-4bit")
    with pytest.raises(InputError, match="quantization"):
        load_judge(quantization="gptq")  # type: ignore[arg-type]
    assert JudgeSettings(rival=RivalSettings(kind="chat"), quantization="int8").quantization == "int8"


# ---------------------------------------------------------------- digests


def test_without_quantisation_the_digest_is_what_it_was(tiny_model: Path, tmp_path: Path) -> None:
    """Caches and certificates of before stay valid."""
    weights = folder_digest(tiny_model)
    assert load_model(str(tiny_model)).revision == weights
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    both = hashlib.sha256(f"{weights}+{folder_digest(adapter)}".encode()).hexdigest()
    assert load_model(str(tiny_model), adapter=adapter, quantization="none").revision == both


@pytest.mark.parametrize("wanted", AT_LOADING)
def test_the_same_weights_in_fewer_bits_are_another_judge(wanted: Quantization, wide: Path) -> None:
    plain = load_generative_judge(JudgeSettings(model=str(wide)))
    fewer = load_generative_judge(JudgeSettings(model=str(wide), quantization=wanted))
    assert fewer.backend.revision == f"{plain.backend.revision}-{wanted}"
    assert fewer.card.digest != plain.card.digest


def test_a_changed_setting_of_gptq_changes_the_digest(old: Path) -> None:
    before = folder_digest(old)
    (old / "quantize_config.json").write_text(json.dumps(OLD_SETTINGS | {"desc_act": True}))
    assert folder_digest(old) != before


# ---------------------------------------------------------------- the libraries themselves


@needs_gptq
@pytest.mark.parametrize("layout", ["new", "old"])
def test_a_gptq_checkpoint_is_its_dequantised_weights(layout: str, gptq: GPTQModels) -> None:
    folder = gptq.new if layout == "new" else gptq.old
    local = load_model(str(folder), device="cpu")
    assert "Linear" in type(local.model.model.layers[0].mlp.up_proj).__name__
    assert not isinstance(local.model.model.layers[0].mlp.up_proj, torch.nn.Linear)
    reference = logits(load_model(str(gptq.dequantized), device="cpu"))
    # The kernel rounds a little; the range of the logits is about 13.
    torch.testing.assert_close(logits(local), reference, atol=0.03, rtol=0)


@needs_gptq
def test_a_gptq_judge_judges(gptq: GPTQModels) -> None:
    assert_rates(load_judge(model=str(gptq.old)).rate(items()))


@needs_gptq
def test_an_adapter_stays_beside_gptq_weights(gptq: GPTQModels, tmp_path: Path) -> None:
    adapter = make_adapter(gptq.dequantized, tmp_path / "adapter")
    found = load_model(str(gptq.old), adapter=adapter, device="cpu")
    expected = load_model(str(gptq.dequantized), adapter=adapter, device="cpu")
    torch.testing.assert_close(logits(found), logits(expected), atol=0.05, rtol=0)


def items() -> list[RateItem]:
    prompt = Prompt(id="p", messages=(Message(role="user", content="Which is better?"),))
    texts = ["This one.", "The other one, since it is longer."]
    return [
        RateItem(prompt=prompt, candidate=Candidate(id=f"c{number}", prompt_id="p", text=text))
        for number, text in enumerate(texts)
    ]


def assert_rates(judgments: Iterator[object]) -> None:
    outcomes = [one.outcome for one in judgments]  # type: ignore[attr-defined]
    assert len(outcomes) == 2
    assert all(isinstance(one, Rating) for one in outcomes)


@pytest.mark.parametrize("wanted", AT_LOADING)
def test_a_judge_in_fewer_bits_is_close_to_the_float_one(wanted: Quantization, wide: Path) -> None:
    plain, fewer = load_model(str(wide)), load_model(str(wide), quantization=wanted)
    assert held_bytes(fewer) < 0.75 * held_bytes(plain)
    distance = (logits(fewer) - logits(plain)).abs().max()
    assert 0 < distance < (2.0 if wanted == "bnb-4bit" else 0.5)
    assert_rates(load_judge(model=str(wide), quantization=wanted).rate(items()))


def held_bytes(local: LocalModel) -> int:
    """Bytes of a model's weights as they are held."""
    found = {}
    for name, weight in local.model.named_parameters():
        parts = [weight]
        if hasattr(weight, "__tensor_flatten__"):
            parts = [getattr(weight, part) for part in weight.__tensor_flatten__()[0]]
        found[name] = sum(part.numel() * part.element_size() for part in parts)
    return sum(found.values())


@pytest.mark.parametrize("wanted", AT_LOADING)
def test_an_adapter_goes_on_weights_in_fewer_bits(wanted: Quantization, wide: Path, tmp_path: Path) -> None:
    adapter = make_adapter(wide, tmp_path / "adapter")
    found = load_model(str(wide), adapter=adapter, quantization=wanted)
    with_adapter = logits(load_model(str(wide), adapter=adapter))
    without = logits(load_model(str(wide)))
    distance = (logits(found) - with_adapter).abs().mean()
    assert distance < 0.5 * (with_adapter - without).abs().mean()


@needs_int8
def test_int8_does_not_depend_on_the_batch(wide: Path) -> None:
    model = load_model(str(wide), quantization="int8").model
    rows = torch.randint(5, 300, (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = model(input_ids=rows).logits
        alone = model(input_ids=rows[:1]).logits
    torch.testing.assert_close(alone, together[:1], atol=1e-5, rtol=1e-5)
