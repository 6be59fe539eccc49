"""One token at a time comes to what the library's models compute, however weights, keys and values lie in memory."""

import itertools

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)
from transformers.pytorch_utils import Conv1D

from gistchat.engines.cpu_decode import ROOM, make_step, new_cache
from gistchat.engines.cpu_matmul import FEW_ROWS, quick_product
from gistchat.models import cpu_speedups
from gistchat.models.ctranslate2_conversion import make_contiguous

VOCABULARY, LENGTH = 1001, 20  # an odd number of outputs, which two threads cannot share evenly


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def small_gpt2():
    config = GPT2Config(
        vocab_size=VOCABULARY, n_layer=2, n_embd=256, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def small_llama():
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=288,
        intermediate_size=768,
        num_hidden_layers=2,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def with_random_weights(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.mark.parametrize(("single", "rows"), [(True, 1), (False, 1), (True, 3), (False, 3), (False, FEW_ROWS + 6)])
@pytest.mark.parametrize("make", [small_gpt2, small_llama])
@torch.no_grad()
def test_steps_come_to_the_logits_of_the_whole_sequence(make, single, rows):
    model = with_random_weights(make())
    ids = torch.randint(VOCABULARY, (rows, LENGTH))
    types = torch.randint(VOCABULARY, (rows, LENGTH)) if make is small_gpt2 else None
    seen = torch.arange(LENGTH) >= torch.arange(rows)[:, None] % 5  # as padded on the left
    positions = (seen.long().cumsum(1) - 1).clamp(min=0)
    given = {} if types is None else {"token_type_ids": types}
    whole = model(input_ids=ids, attention_mask=seen, position_ids=positions, **given).logits
    read, cache = 12, new_cache()
    given = {} if types is None else {"token_type_ids": types[:, :read]}
    model(
        input_ids=ids[:, :read],
        attention_mask=seen[:, :read],
        position_ids=positions[:, :read],
        past_key_values=cache,
        **given,
    )
    step = make_step(model, single)
    for now in range(read, LENGTH):
        visible = None if rows == 1 else seen[:, : now + 1]
        logits = step(ids[:, now], None if types is None else types[:, now], positions[:, now], visible, cache)
        torch.testing.assert_close(logits, whole[:, now], rtol=1e-4, atol=1e-5)
    assert cache.get_seq_length() == LENGTH


@pytest.mark.parametrize("make", [small_gpt2, small_llama])
def test_a_model_laid_out_for_steps_computes_learns_and_saves_as_before(make, tmp_path):
    model = with_random_weights(make())
    ids = torch.randint(VOCABULARY, (2, 9))
    before = model(input_ids=ids, labels=ids)
    shapes = [parameter.shape for parameter in model.parameters()]
    for single in (True, False, True):
        make_step(model, single)
        after = model(input_ids=ids, labels=ids)
        torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-5)
        assert [parameter.shape for parameter in model.parameters()] == shapes
    after.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    make_contiguous(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(again(input_ids=ids).logits, before.logits, rtol=1e-4, atol=1e-5)


def test_other_models_are_left_to_the_library():
    config = OPTConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, ffn_dim=16, num_attention_heads=2)
    assert make_step(OPTForCausalLM(config), single=True) is None


@pytest.mark.parametrize(
    ("kind", "single", "bias", "outputs"),
    list(itertools.product(["linear", "conv"], [True, False], [True, False], [130, 384, 1025])),
)
@torch.no_grad()
def test_products_of_few_rows(kind, single, bias, outputs):
    torch.manual_seed(0)
    if kind == "conv":
        layer = Conv1D(outputs, 640)
        torch.nn.init.normal_(layer.bias)
    else:
        layer = torch.nn.Linear(640, outputs, bias=bias)
    for rows in (1, 2, FEW_ROWS, FEW_ROWS + 1):
        states = torch.randn(rows, 640)
        expected = layer(states)
        torch.testing.assert_close(quick_product(layer, single)(states), expected, rtol=1e-4, atol=1e-5)
    weight = layer.weight if kind == "linear" else layer.weight.T
    along_outputs = weight.stride(0) == 1
    assert along_outputs == (single and outputs > 640)


@torch.no_grad()
def test_threads_share_a_single_row(monkeypatch):
    layer = torch.nn.Linear(640, 384)
    product, shared = quick_product(layer, single=True), []
    real = torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda *words: shared.append(len(words[2])) or real(*words))
    product(torch.randn(1, 640))
    product(torch.randn(2, 640))
    assert shared == [2]


def parts_of(length, rows=2):
    return torch.randn(rows, 3, length, 4), torch.randn(rows, 3, length, 4)


def test_keys_and_values_grow_in_place():
    cache, pieces, places = new_cache(), [parts_of(length) for length in (7, *[1] * (ROOM + 5))], set()
    for piece in pieces:
        keys, values = cache.update(*piece, 0)
        places.add((keys.data_ptr(), values.data_ptr()))
    assert torch.equal(keys, torch.cat([key for key, _ in pieces], 2))
    assert torch.equal(values, torch.cat([value for _, value in pieces], 2))
    assert len(places) == 2  # once more where the room was full
    assert pieces[0][0].data_ptr() not in {place for place, _ in places}  # never in a model's own memory


def test_cropped_keys_are_written_over_and_chosen_rows_leave_the_others_alone():
    cache, first, second, third = new_cache(), parts_of(6), parts_of(2), parts_of(1, rows=1)
    cache.update(*first, 0)
    cache.crop(-2)
    keys, _ = cache.update(*second, 0)
    assert torch.equal(keys, torch.cat([first[0][:, :, :4], second[0]], 2))
    cache.batch_select_indices(torch.tensor([1]))
    kept = keys.clone()
    chosen, _ = cache.update(*third, 0)
    assert torch.equal(chosen, torch.cat([kept[1:], third[0]], 2))
    assert torch.equal(keys, kept)


def test_untested_versions_of_the_library_go_through_the_library(monkeypatch):
    monkeypatch.setitem(cpu_speedups.TESTED, "transformers", "4.0")
    assert make_step(small_gpt2(), single=True) is None
    ids = torch.arange(5)[None]
    cache = new_cache()
    model = with_random_weights(small_gpt2())
    model(input_ids=ids[:, :3], past_key_values=cache)
    rest = model(input_ids=ids[:, 3:], past_key_values=cache).logits
    torch.testing.assert_close(rest, model(input_ids=ids).logits[:, 3:])
