"""Where a model ends what it writes: read with the base, kept in the checkpoint, the same in written summaries."""

import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gistchat.errors import UserError
from gistchat.files import read_json, write_json
from gistchat.memory.summarizers.abstractive import Request
from gistchat.memory.summarizers.language_model import LocalWriter
from gistchat.models.base import Base
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import METADATA, find_checkpoint
from gistchat.models.generation import end_ids
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.pipeline import open_workspace

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({"generation_config.json": {"eos_token_id": [7, 3]}}, [7, 3]),
        ({"generation_config.json": {"eos_token_id": 7}}, [7]),
        ({"generation_config.json": {"temperature": 0.6, "do_sample": True}}, [50256]),
        ({}, [50256]),
        ({"config.json": {"model_type": "gpt2", "eos_token_id": None}}, []),
        ({"generation_config.json": {"eos_token_id": [7, 3]}, "config.json": {"model_type": "nobody's"}}, [7, 3]),
    ],
)
def test_the_files_of_a_model_name_its_ends(tmp_path, files, ends):
    for name, values in ({"config.json": {"model_type": "gpt2", "eos_token_id": 50256}} | files).items():
        write_json(tmp_path / name, values)
    assert end_ids(Base(str(tmp_path), "x")) == ends


def save_chat_model(folder):
    """A random model whose messages end at another token than its end token, which a third file names."""
    tokenizer = gpt2_tokenizer()
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=False)  # as StableLM 2 has them
    tokenizer.chat_template = CHATML
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50300, max_position_embeddings=1024, eos_token_id=50256, **sizes))
    model.generation_config.eos_token_id = [50256, 0]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_a_run_learns_the_end_of_a_message_and_stops_at_all_that_its_model_names(tmp_path, tiny_recipe):
    tokenizer = save_chat_model(tmp_path / "model")
    recipe = tiny_recipe.change(model={"name": str(tmp_path / "model"), "init": "pretrained", "format": "auto"})
    prompt_format = open_workspace(recipe, tmp_path / "run").format
    stops = tokenizer.convert_ids_to_tokens(prompt_format.stop_ids)
    assert stops == ["<|im_end|>", "<|endoftext|>", "<|im_start|>", "!"]
    assert prompt_format.encode_reply("Yes.")[-1] == prompt_format.stop_ids[0]


def test_a_checkpoint_keeps_its_ends(run_folder, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(find_checkpoint(run_folder), folder)
    metadata = read_json(folder / METADATA)
    stops = load_checkpoint(folder).format.stop_ids
    assert metadata["stop_ids"] == stops
    write_json(folder / METADATA, {**metadata, "stop_ids": [*stops, 0, 10**6]})  # no tokenizer has the last one
    assert load_checkpoint(folder).format.stop_ids == [*stops, 0]
    del metadata["stop_ids"]  # as earlier versions wrote it
    write_json(folder / METADATA, metadata)
    assert load_checkpoint(folder).format.stop_ids == stops
    for damaged in (7, ["x"], [[1]]):
        write_json(folder / METADATA, {**metadata, "stop_ids": damaged})
        with pytest.raises(UserError, match="not written by gistchat"):
            load_checkpoint(folder)


def test_written_summaries_end_where_replies_do_and_leave_thoughts_out(tmp_path, monkeypatch):
    tokenizer = save_chat_model(tmp_path)
    writer = LocalWriter(str(tmp_path), 12, "")
    asked = tokenizer.decode(writer._ids(Request("", "a: I have two dogs.")))
    assert asked.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    wrote = [
        "<think>\nWhat did she say?\n</think>\n\nShe has two dogs.<|im_end|>\n<|im_start|>user",
        "She has <b>two dogs.<|endoftext|><|endoftext|>",
        "<think>\nWhat did she",
    ]
    asked_with = []

    def generate(input_ids, attention_mask, generation_config):
        asked_with.append(generation_config)
        said = tokenizer(wrote[len(asked_with) - 1], return_tensors="pt")["input_ids"]
        return torch.cat([input_ids, said], dim=1)

    monkeypatch.setattr(writer.model, "generate", generate)
    written = [writer.write([Request("", "a: I have two dogs.")])[0] for _ in wrote]
    assert written == ["She has two dogs.", "She has <b>two dogs.", ""]
    ends = tokenizer.convert_ids_to_tokens(asked_with[0].eos_token_id)
    assert ends == ["<|im_end|>", "<|endoftext|>", "<|im_start|>", "!"]
