"""BERTScore and MAUVE by tiny random models in local folders."""

import random
import shutil
import sys

import pytest
import torch
from conftest import DEEDS, THINGS, gistchat, make_dialogue
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizer,
)

from gistchat.errors import UserError
from gistchat.evaluate.model_metrics import FEWEST, _best_layer, _word_tokenizer, bertscores, check_models, mauves
from gistchat.files import read_json, read_json_lines

GOLD = [turn.text for i in range(10) for turn in make_dialogue(i).turns]
NEAR = [turn.text for i in range(10, 20) for turn in make_dialogue(i).turns]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
MIXED = [
    "the dog",
    "I lost a violin near the river .",
    "a",
    "did you see the cat near the garden , the engine and the dog ?",
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    """A random BERT that knows the words of the dialogues."""
    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "i",
        "a",
        "the",
        "near",
        "did",
        "you",
        "see",
        "number",
        ".",
        "?",
    ]
    words += [*THINGS, *DEEDS, *map(str, range(10)), *(f"##{i}" for i in range(10))]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **SHAPE)).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("roberta")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(GOLD, vocab_size=500, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    RobertaModel(RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=34, **SHAPE)).save_pretrained(folder)
    return str(folder)


def mean(values):
    return sum(values) / len(values)


def word_salad(rng):
    return " ".join(rng.choices([*THINGS, *DEEDS], k=rng.randint(3, 15)))


def test_bertscore_puts_gold_first_then_near_replies_then_others(bert):
    rng = random.Random(0)
    near = [text.replace("number", "near").replace("dog", "cat") for text in GOLD]
    shuffled = GOLD[12:] + GOLD[:12]
    salad = [word_salad(rng) for _ in GOLD]
    gold, near, other, least = (mean(bertscores(texts, GOLD, bert)) for texts in (GOLD, near, shuffled, salad))
    assert gold == pytest.approx(100, abs=1e-3)
    assert gold > near + 1 > other + 2 > least + 3


def test_bertscore_is_the_f1_of_the_nearest_tokens_of_each_pair(bert):
    """Also beside pairs of other lengths. Specials may be the nearest, but have no say themselves."""
    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()

    def vectors(text):
        with torch.no_grad():
            found = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[3][0]
        return torch.nn.functional.normalize(found, dim=-1)

    replies = MIXED[1:] + MIXED[:1]
    for score, reply, gold in zip(bertscores(replies, MIXED, bert), replies, MIXED, strict=True):
        alike = vectors(reply) @ vectors(gold).T
        precision, recall = (alike.max(side).values[1:-1].mean() for side in (1, 0))
        assert score == pytest.approx(float(200 * precision * recall / (precision + recall)), abs=1e-3)


def test_bertscore_of_nothing_is_0(bert):
    assert bertscores(["", GOLD[0], " \n"], [GOLD[0], GOLD[0], GOLD[1]], bert) == [0, pytest.approx(100), 0]
    assert bertscores(["\u200b", "\ufeff\u2060", "\u3164"], GOLD[:3], bert) == [0, 0, 0]
    assert bertscores(["", GOLD[0]], [GOLD[0], ""], bert) == [0, 0]
    assert bertscores([], [], bert) == []


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_bertscore_cuts_what_is_too_long_for_the_model(kind, request):
    long = " ".join(GOLD)
    cut, whole = bertscores([long, long], [long, GOLD[0]], request.getfixturevalue(kind))
    assert cut == pytest.approx(100)
    assert whole < 99


def test_the_first_word_is_the_same_as_within_a_text(roberta):
    tokenizer = _word_tokenizer(roberta)
    assert tokenizer.tokenize("river")[-1:] == tokenizer.tokenize("the river")[-1:] == ["Ġriver"]


def test_the_layer_is_the_tuned_one_of_a_known_name():
    from bert_score.utils import model2layers

    names = "roberta-large", "FacebookAI/roberta-large", "/cache/models--FacebookAI--roberta-large/snapshots/0123abc"
    for name in (*names, "models/roberta-large", "./roberta-large"):
        assert _best_layer(name, 24, model2layers) == 17
    assert _best_layer("roberta-large", 4, model2layers) == 3  # a small model of that name
    assert _best_layer("/my/own", 12, model2layers) == 9
    assert _best_layer("/my/own", 1, model2layers) == 1


def test_mauve_puts_gold_first_then_alike_replies_then_others(tiny_base, capfd):
    rng = random.Random(0)
    salad = [word_salad(rng) for _ in GOLD]
    some_empty = [text if i % 3 else "" for i, text in enumerate(NEAR)]
    said = {"gold": GOLD[::-1], "near": NEAR, "empty": some_empty, "salad": salad}
    found = mauves({name: (replies, GOLD) for name, replies in said.items()}, tiny_base.source, seed=0)
    assert found["gold"] == pytest.approx(100)
    assert found["gold"] > found["near"] > found["empty"] + 5 > found["salad"] + 5
    alone = mauves({0: (NEAR[::-1], GOLD)}, tiny_base.source, seed=0)
    assert alone[0] == pytest.approx(found["near"], abs=0.1)
    assert capfd.readouterr().err == ""


def test_mauve_needs_replies(tiny_base):
    with pytest.raises(UserError, match=f"{FEWEST - 1} replies are too few for MAUVE, which needs {FEWEST}"):
        mauves({"a": (GOLD[: FEWEST - 1], GOLD[: FEWEST - 1])}, tiny_base.source, seed=0)


def score(model):
    return bertscores(["a"], ["b"], model)


def compare(model):
    return mauves({"": (GOLD, GOLD)}, model, seed=0)


@pytest.mark.parametrize("measure", [score, compare])
def test_what_is_said_of_a_model_that_cannot_be_had(measure, bert, tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such folder$"):
        measure(str(tmp_path / "nowhere"))
    with pytest.raises(UserError) as caught:
        measure("nobody/such-model")
    assert str(caught.value).startswith("cannot get model 'nobody/such-model' (")
    assert str(caught.value).endswith("): check the network, or give a local folder")
    AutoModel.from_pretrained(bert).save_pretrained(tmp_path / "mute")
    with pytest.raises(UserError, match="mute: no tokenizer in this folder"):
        measure(str(tmp_path / "mute"))


def test_models_are_checked_before_anything_is_generated(bert, tiny_base, monkeypatch):
    check_models("", "", 0)
    check_models(bert, tiny_base.source, FEWEST)
    with pytest.raises(UserError, match="no padding token"):
        check_models(tiny_base.source, "", FEWEST)
    with pytest.raises(UserError, match="too few"):
        check_models("", tiny_base.source, FEWEST - 1)
    with pytest.raises(UserError, match="no such folder"):
        check_models("", "./nowhere", FEWEST)
    for module in ("bert_score", "mauve"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"^bert_score is not installed: pip install 'gistchat\[judges\]'"):
        check_models(bert, "", FEWEST)
    with pytest.raises(UserError, match=r"^mauve is not installed: pip install 'gistchat\[judges\]'"):
        check_models("", tiny_base.source, FEWEST)


def test_an_evaluation_with_models_named_has_their_scores(bert, tiny_base, tiny_folder):
    words = ["--set", f"evaluate.bertscore_model={bert}", "--set", "evaluate.strategies=last,recent"]
    done = gistchat("run", "tiny.toml", *words, cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    run = tiny_folder / "runs" / "tiny"
    scores = [row.get("bertscore") for row in read_json_lines(run / "predictions.jsonl")]
    assert sum(score is not None for score in scores) == 12  # three replies of two models under two strategies
    by_name = {one["name"]: one["metrics"] for one in read_json(run / "metrics.json")["results"]}
    assert 0 < by_name["tuned recent"]["bertscore"]["value"] < 100
    assert "BERTScore" in (run / "report.md").read_text()
    few = gistchat("evaluate", "runs/tiny", "--set", f"evaluate.mauve_model={tiny_base.source}", cwd=tiny_folder)
    assert (few.returncode, few.stdout) == (1, "")
    assert "MAUVE" in few.stderr


def test_mauve_reaches_the_report_of_a_run_and_of_a_comparison(tiny_base, tiny_folder):
    (tiny_folder / "talks.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(40)))
    settings = [f"mauve_model={tiny_base.source}", "strategies=recent", f"items={FEWEST}", f"reply_items={FEWEST}"]
    settings += ["turns=all", "min_history=1"]
    words = [word for setting in [*settings, "base_items=20"] for word in ("--set", f"evaluate.{setting}")]
    done = gistchat("run", "tiny.toml", *words, cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    assert f"MAUVE: left out base recent, as 20 replies are fewer than {FEWEST}" in done.stderr
    run = tiny_folder / "runs" / "tiny"
    [score] = read_json(run / "metrics.json")["mauve"]
    assert 0 < score["value"] <= 100
    shown = f"| tuned | recent | {FEWEST} | {score['value']:.1f} |"
    text = (run / "report.md").read_text()
    assert "## MAUVE" in text
    assert "| model | context | replies | MAUVE % |" in text
    assert shown in text
    assert ">MAUVE</h2>" in (run / "report.html").read_text()
    shutil.copytree(run, run.with_name("again"))
    done = gistchat("compare", "runs/tiny", "runs/again", "--out", "side", cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    assert (tiny_folder / "side" / "report.md").read_text().count(shown) == 2
