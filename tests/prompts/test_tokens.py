import random

import numpy as np
import pytest

from gistchat.dialogue.jsonl import write_jsonl
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.models.base import load_tokenizer, tokenizer_fingerprint
from gistchat.models.resolve import resolve_base
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prepare.prepare import prepare
from gistchat.prompts.formats import make_format
from gistchat.prompts.token_store import Encoder, TokenStore, report_lines, tokenize
from gistchat.recipe.schema import DataConfig, ModelConfig


def by_tokenizer(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@pytest.mark.parametrize("name", ["gpt2", "smollm2"])
def test_words_that_are_looked_up_give_the_tokenizers_own_ids(tmp_path, name, monkeypatch):
    tokenizer = gpt2_tokenizer() if name == "gpt2" else load_tokenizer(resolve_base(ModelConfig(), 0))
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder((tmp_path / "tokenizer.json").read_text())
    assert encoder.by_word
    rng = random.Random(0)
    letters = "abcXY Z 019 '.,!?-_'st're <|>\"$%é\u00a0…\t\n"
    texts = ["".join(rng.choices(letters, k=rng.randint(0, 40))) for _ in range(4000)]
    texts += ["it's I'd they'll X'S 'tis O'Neil's don't!! 12,345.67 a1b2", "<|im_start|>user <|endoftext|> <sp1>"]
    texts += [
        "def f():\n    return 'a'\n\n\nx  =  1",
        " a",
        "a ",
        "a  b",
        "a\tb",
        "\n",
        "a\r\nb",
        "a \n b",
        "  - a\n    - b",
    ]
    ids_by_tokenizer = by_tokenizer(tokenizer, texts)
    for cached in (10, 200_000):
        monkeypatch.setattr("gistchat.prompts.token_store.CACHED_WORDS", cached)
        encoder.word_ids.clear()
        assert [np.frombuffer(ids, dtype=np.uint32).tolist() for ids in encoder.encode(texts)] == ids_by_tokenizer
        assert len(encoder.word_ids) <= cached
        assert encoder.lengths(texts) == list(map(len, ids_by_tokenizer))


def test_a_prepared_folder_is_encoded_once_per_tokenizer(tmp_path, dialogue_file, monkeypatch):
    monkeypatch.setattr("gistchat.prompts.token_store.DIALOGUES_AT_A_TIME", 7)
    prepare(DataConfig(corpus="jsonl", source=str(dialogue_file)), tmp_path / "data")
    tokenizer = gpt2_tokenizer()
    folder, report = tokenize(tmp_path / "data", tokenizer, tokenizer_fingerprint(tokenizer))
    texts = [line["text"] for path in (tmp_path / "data").glob("*.jsonl") for line in turns_of(path)]
    store = TokenStore(folder)
    assert [store.get(text) for text in texts] == by_tokenizer(tokenizer, texts)
    assert store.get("what nobody ever said here") is None
    assert (report["turns"], report["tokens"]) == (len(texts), sum(map(len, by_tokenizer(tokenizer, texts))))
    before = (folder / "ids.bin").stat().st_mtime_ns
    assert tokenize(tmp_path / "data", tokenizer, tokenizer_fingerprint(tokenizer)) == (folder, report)
    assert (folder / "ids.bin").stat().st_mtime_ns == before
    other, _ = tokenize(tmp_path / "data", tokenizer, "other")
    assert other != folder
    (folder / "ids.bin").write_bytes(b"torn")
    tokenize(tmp_path / "data", tokenizer, tokenizer_fingerprint(tokenizer))
    assert [TokenStore(folder).get(text) for text in texts] == by_tokenizer(tokenizer, texts)


def turns_of(path):
    import json

    return [turn for line in path.read_text().splitlines() for turn in json.loads(line)["turns"]]


def test_the_report_says_what_a_budget_holds(tmp_path):
    texts = ["one two three", "four five", "six", "seven eight"]  # a token a word
    turns = tuple(Turn("ab"[i % 2], text) for i, text in enumerate(texts))
    write_jsonl(tmp_path / "in.jsonl", [Dialogue("d", turns)])
    prepare(DataConfig(corpus="jsonl", source=str(tmp_path / "in.jsonl")), tmp_path / "data")
    _, report = tokenize(tmp_path / "data", gpt2_tokenizer(), "key")
    assert (report["tokens"], report["median"], report["p99"]) == (8, 2, 3)
    assert set(report["history_fits"].values()) == {1.0}
    long = tuple(Turn("ab"[i % 2], " ".join(["word"] * 40)) for i in range(4))
    write_jsonl(tmp_path / "in.jsonl", [Dialogue("d", long)])
    prepare(DataConfig(corpus="jsonl", source=str(tmp_path / "in.jsonl")), tmp_path / "data")
    _, report = tokenize(tmp_path / "data", gpt2_tokenizer(), "key")
    # Replies at turns 1, 2 and 3 have 0, 40 and 80 tokens of history.
    assert report["history_fits"]["32"] == pytest.approx(1 / 3)
    assert report["history_fits"]["64"] == pytest.approx(2 / 3)
    assert report["history_fits"]["96"] == 1
    assert "fits in a budget of 32: 33%, 64: 67%" in report_lines(report)[1]


def test_prompts_are_the_same_with_and_without_the_store(tmp_path, dialogue_file, dialogues):
    prepare(DataConfig(corpus="jsonl", source=str(dialogue_file)), tmp_path / "data")
    tokenizer = gpt2_tokenizer()
    folder, _ = tokenize(tmp_path / "data", tokenizer, tokenizer_fingerprint(tokenizer))
    plain, known = (make_format("speaker-tokens", gpt2_tokenizer()) for _ in range(2))
    known.stored = TokenStore(folder)
    texts = [turn.text for dialogue in dialogues for turn in dialogue.turns]
    assert [plain.encode_text(text) for text in texts] == [known.encode_text(text) for text in texts]
    assert known.encode_text("never said <sp1>") == plain.encode_text("never said <sp1>")
