"""Scoring and answering every item under every condition: shared prompts, ranks, what a cache would hold, resuming."""

import copy
import dataclasses
import json

import pytest
import torch
from conftest import gistchat, make_dialogue

from gistchat.engines.engine import ConversationCache, stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.evaluate import predict as evaluate
from gistchat.evaluate.items import Condition, build_items, choose_items, conditions
from gistchat.evaluate.planted_facts import probe
from gistchat.evaluate.planted_questions import DISTANCES, FACTS, probe_targets
from gistchat.evaluate.predict import Subject, predict
from gistchat.evaluate.ranking import CANDIDATES, draw_others, rank_gold
from gistchat.examples.build import builders_by_budget
from gistchat.examples.targets import Target
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import fit_embeddings, load_model, load_tokenizer
from gistchat.models.likelihood import ScoredReply, score_replies
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ContextConfig, Recipe, SummaryConfig

DIALOGUES = [make_dialogue(i, turns=16) for i in range(24)]
TARGETS = [Target(dialogue, 9) for dialogue in DIALOGUES]
BUDGETS = (32, 96)
PLANTED = probe_targets(10, DIALOGUES)


@pytest.fixture(scope="module", params=["speaker-tokens", "paper"])
def parts(request, tiny_base, tmp_path_factory):
    """(model, format, builders by budget), with and without token types."""
    prompt_format = make_format(request.param, load_tokenizer(tiny_base))
    model = load_model(tiny_base)
    fit_embeddings(model, prompt_format)
    context = ContextConfig(budget=96)
    store = SummaryStore(tmp_path_factory.mktemp("s"), SummaryConfig(), context, prompt_format, "t")
    store.add([*DIALOGUES, *(target.dialogue for target in PLANTED)])
    stores = dict.fromkeys(BUDGETS, store)
    return model, prompt_format, builders_by_budget(BUDGETS, prompt_format, context, stores, 512, DIALOGUES)


def plain_nats(model, prompt_format, prompt, reply):
    """The textbook way: one row, logits everywhere, the library's own loss."""
    whole = prompt.followed_by(reply)
    ids = torch.tensor([whole.ids])
    labels = ids.clone()
    labels[:, : len(prompt)] = -100
    more = {} if whole.types is None else {"token_type_ids": torch.tensor([whole.types])}
    with torch.no_grad():
        return model(input_ids=ids, labels=labels, **more).loss.item() * len(reply)


def test_replies_to_one_prompt_read_it_once_and_score_as_if_alone(parts):
    model, prompt_format, builders = parts
    example = builders[96].build(TARGETS[0], "hybrid")
    replies = [prompt_format.encode_reply(target.gold) for target in TARGETS[:6]]
    rows = [ScoredReply.of(example.prompt, reply) for reply in replies]
    read = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda layer, inputs: read.append(inputs[0].numel()))
    try:
        scores = score_replies(model, prompt_format, rows)
    finally:
        hook.remove()
    assert len(example.prompt) > 60
    assert sum(read) < 2.5 * (
        len(example.prompt) + 6 * 40
    )  # token types are looked up, too; six times the prompt is more
    for reply, score in zip(replies, scores, strict=True):
        assert score == pytest.approx(plain_nats(model, prompt_format, example.prompt, reply), rel=1e-5)


def test_the_rank_is_that_of_the_mean_likelihood_of_each_candidate(parts):
    model, prompt_format, builders = parts
    examples = [builders[96].build(target, "recent") for target in TARGETS[:4]]
    others = [draw_others(target, TARGETS) for target in TARGETS[:4]]
    ranks = rank_gold(model, prompt_format, examples, others)
    assert len(set(ranks)) > 1
    for example, texts, rank in zip(examples, others, ranks, strict=True):
        assert len(texts) == CANDIDATES - 1
        assert example.target.gold not in texts
        replies = [example.reply, *map(prompt_format.encode_reply, texts)]
        means = [plain_nats(model, prompt_format, example.prompt, reply) / len(reply) for reply in replies]
        assert rank == 1 + sum(value < means[0] for value in means[1:])


def test_a_model_that_expects_the_gold_reply_ranks_it_first(parts):
    model, prompt_format, builders = parts
    example = builders[96].build(TARGETS[0], "last")
    logits = torch.zeros(model.config.vocab_size)
    logits[example.reply] = 9.0
    hook = model.get_output_embeddings().register_forward_hook(lambda layer, inputs, out: out * 0 + logits)
    try:
        assert rank_gold(model, prompt_format, [example], [draw_others(TARGETS[0], TARGETS)]) == [1]
    finally:
        hook.remove()


def test_reused_tokens_are_those_that_the_chat_engine_does_not_read_again(parts):
    model, prompt_format, builders = parts
    wanted = [Condition("recent", 96), Condition("summary", 32), Condition("last", None), Condition("full", None)]
    items = build_items(TARGETS[:3], wanted, builders)
    for condition, examples in items.examples.items():
        for example, reused in zip(examples, items.reused[condition], strict=True):
            builder = builders.get(condition.budget, builders[32])
            before = builder.build(Target(example.target.dialogue, example.target.turn - 2), condition.strategy)
            engine, cache = TorchEngine(model, prompt_format), ConversationCache()
            one_token = Sampling(max_tokens=1)
            # As if the gold reply had been the model's: it is read with the prompt before it.
            said = before.prompt.followed_by(before.reply)
            list(engine.stream_prompt(said, one_token, cache, PartialReply(prompt_format, one_token)))
            list(stream_reply(engine, example.context, one_token, cache))
            assert len(example.prompt) - cache.prefilled == reused
    full = items.reused[Condition("full", None)]
    assert min(full) > max(items.reused[Condition("last", None)])


def test_each_strategy_comes_at_each_budget_and_those_without_one_once():
    recipe = Recipe().change(evaluate={"strategies": ["last", "recent", "summary"], "budgets": [32, 64]})
    assert [str(one) for one in conditions(recipe)] == ["last", "recent-32", "summary-32", "recent-64", "summary-64"]
    recipe = recipe.change(evaluate={"budgets": []})
    assert [str(one) for one in conditions(recipe)] == ["last", "recent-96", "summary-96"]


def test_a_smaller_budget_shows_less(parts):
    _, _, builders = parts
    items = build_items(TARGETS, [Condition("recent", 32), Condition("recent", 96)], builders)
    small, large = items.examples.values()
    assert all(example.context.tokens <= 32 for example in small)
    assert all(33 <= example.context.tokens <= 96 for example in large)


@pytest.fixture
def scored(monkeypatch):
    """How many items each call computed the likelihood of."""
    numbers = []
    real = evaluate.score_replies
    monkeypatch.setattr(evaluate, "score_replies", lambda *words: numbers.append(len(words[2])) or real(*words))
    return numbers


def test_all_conditions_are_scored_at_once_and_finished_ones_not_again(parts, tmp_path, scored):
    model, prompt_format, builders = parts
    config = dataclasses.replace(Recipe().evaluate, reply_items=2, rank_items=2, max_reply_tokens=3)
    items = build_items(TARGETS[:4], [Condition("recent", 32), Condition("summary", 32)], builders)
    rows = predict(Subject("tuned", lambda: model), prompt_format, items, config, tmp_path)
    again = predict(Subject("tuned", lambda: pytest.fail("loaded again")), prompt_format, items, config, tmp_path)
    assert scored == [8]
    assert again == rows
    assert [row["rank"] is not None for row in rows[:4]] == [True, True, False, False]


def test_items_that_are_added_are_computed_alone(parts, tmp_path, scored, monkeypatch):
    model, prompt_format, builders = parts
    config = dataclasses.replace(Recipe().evaluate, reply_items=2, max_reply_tokens=3)
    wanted = [Condition("recent", 32), Condition("shuffled", 32)]
    tuned = Subject("tuned", lambda: model)
    few = predict(tuned, prompt_format, build_items(TARGETS[:4], wanted, builders), config, tmp_path)
    other = {96: builders[96], 32: copy.copy(builders[32])}
    other[32].donors = DIALOGUES[20:]  # more items lend other summaries
    more = predict(tuned, prompt_format, build_items(TARGETS[:6], wanted, other), config, tmp_path)
    assert scored == [8, 2 + 6]
    assert more[:4] == few[:4]
    assert [row["id"] for row in more] == [target.id for target in TARGETS[:6]] * 2
    assert all(row["nats"] > 0 for row in more)
    answered = []
    real = evaluate.generate_replies
    monkeypatch.setattr(evaluate, "generate_replies", lambda *words: answered.append(len(words[1])) or real(*words))
    config = dataclasses.replace(config, reply_items=3)  # the third of each lacks a reply
    rows = predict(tuned, prompt_format, build_items(TARGETS[:6], wanted, other), config, tmp_path)
    assert answered == [1, 1]
    assert [row["reply"] is not None for row in rows] == [True, True, True, False, False, False] * 2
    wanted.append(Condition("summary", 32))
    predict(tuned, prompt_format, build_items(TARGETS[:6], wanted, other), config, tmp_path)
    assert (scored, answered) == ([8, 8, 6], [1, 1, 3])  # an added condition leaves the others alone


def test_an_evaluation_that_is_killed_goes_on_where_it_was(parts, tmp_path, scored, monkeypatch):
    model, prompt_format, builders = parts
    config = dataclasses.replace(Recipe().evaluate, reply_items=2, max_reply_tokens=3)
    items = build_items(TARGETS[:4], [Condition("recent", 32), Condition("summary", 32)], builders)
    tuned = Subject("tuned", lambda: model)
    monkeypatch.setattr(evaluate, "PART", 3)
    real = evaluate.generate_replies
    given = [real]  # and no second time
    monkeypatch.setattr(evaluate, "generate_replies", lambda *words: given.pop()(*words))
    with pytest.raises(IndexError):
        predict(tuned, prompt_format, items, config, tmp_path)
    monkeypatch.setattr(evaluate, "generate_replies", real)
    rows = predict(tuned, prompt_format, items, config, tmp_path)
    assert scored == [3, 3, 2]
    assert [row["nats"] for row in rows] == pytest.approx(
        score_replies(model, prompt_format, [example for some in items.examples.values() for example in some]), rel=1e-5
    )
    assert [row["reply"] is not None for row in rows] == [True, True, False, False] * 2


def test_likelihoods_that_are_no_numbers_stop_and_keep_what_was_computed(parts, tmp_path, monkeypatch):
    model, prompt_format, builders = parts
    config = dataclasses.replace(Recipe().evaluate, reply_items=0)
    wanted = [Condition("recent", 32), Condition("summary", 32)]
    items = build_items(TARGETS[:2], wanted, builders)
    broken = items.examples[wanted[1]][1]

    def damaged(model, form, rows, *rest):
        return [float("nan") if row is broken else 1.0 for row in rows]

    monkeypatch.setattr(evaluate, "score_replies", damaged)
    with pytest.raises(UserError, match="likelihood: that of d1#9, summary-32, is nan; the weights are damaged"):
        predict(Subject("tuned", lambda: model), prompt_format, items, config, tmp_path)
    kept = [json.loads(line)["nats"] for path in tmp_path.iterdir() for line in path.open()]
    assert kept == [1.0, 1.0, 1.0]


def test_which_replies_are_scored():
    recipe = Recipe().change(evaluate={"items": 1000, "strategies": ["recent"]})
    assert len(choose_items(recipe, DIALOGUES)) == 24
    recipe = recipe.change(evaluate={"turns": "last"})
    assert {item.turn for item in choose_items(recipe, DIALOGUES)} == {15}
    recipe = recipe.change(evaluate={"turns": "all"})
    assert len(choose_items(recipe, DIALOGUES)) == 24 * 10
    recipe = recipe.change(evaluate={"strategies": ["recent", "gold"]})
    with pytest.raises(UserError, match="'gold' needs dialogues with a summary or personas of their own, and d"):
        choose_items(recipe, DIALOGUES)


def test_openings_are_the_first_replies_of_later_sessions():
    met = [make_dialogue(number, 12, meta={"session_turns": [5, 4, 3]}) for number in range(3)]
    recipe = Recipe().change(evaluate={"turns": "openings", "min_history": 1, "strategies": ["recent"]})
    assert sorted((item.dialogue.id, item.turn) for item in choose_items(recipe, [*met, *DIALOGUES])) == [
        (f"d{number}", turn) for number in range(3) for turn in (5, 9)
    ]
    with pytest.raises(UserError, match=r"no test dialogue has several sessions.*one, last, all"):
        choose_items(recipe, DIALOGUES)


def test_a_planted_fact_is_right_where_the_answer_says_it(parts, tmp_path):
    model, prompt_format, builders = parts
    wanted = [Condition("last", None), Condition("recent", 96), Condition("full", None), Condition("retrieval", 96)]
    rows = probe(Subject("tuned", lambda: model), prompt_format, PLANTED, wanted, builders, 4096, tmp_path)
    for row, target in zip(rows, PLANTED * 4, strict=True):
        assert (row["question"], row["answer"]) == (target.dialogue.turns[-2].text, target.gold)
        assert len(target.dialogue.turns) == 2 * FACTS + row["distance"] + 2
    assert [(row["distance"], row["shared"]) for row in rows[:10]] == [
        (distance, i % 2 == 0) for i, distance in enumerate(DISTANCES * 2)
    ]
    shown = {one.strategy: [row["shown"] for row in rows if row["strategy"] == one.strategy] for one in wanted}
    assert shown["last"] == [False] * 10
    assert shown["full"] == [True, True, False, False, False] * 2  # forty turns are beyond the model's 512 tokens
    assert all(found for found, row in zip(shown["retrieval"], rows, strict=False) if row["shared"])
    assert not all(shown["recent"])
    assert not any(row["right"] for row in rows)  # a random model

    def no_model():
        raise AssertionError("asked again")

    again = probe(Subject("tuned", no_model), prompt_format, PLANTED, wanted, builders, 4096, tmp_path)
    assert again == rows
    more = probe(
        Subject("tuned", lambda: model),
        prompt_format,
        PLANTED,
        [*wanted, Condition("recent", 32)],
        builders,
        4096,
        tmp_path,
    )
    assert more[: len(rows)] == rows
    assert len(more) == len(rows) + 10


def test_budgets_that_cannot_be_are_refused(tiny_folder):
    for value, said in (
        ("evaluate.budgets=32,96", "evaluate.budgets: 96 is not between 0 and context.budget (48)"),
        ("evaluate.budgets=32,32", "evaluate.budgets: a budget is there twice"),
        ("train.budgets=16,x", "train.budgets must be a list of whole numbers"),
    ):
        done = gistchat("run", "tiny.toml", "--set", value, cwd=tiny_folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr


def test_predictions_say_under_which_condition_they_were_made(tiny_folder):
    words = ["--set", "evaluate.budgets=16,48", "--set", "train.budgets=16,48", "--set", "evaluate.rank_items=2"]
    done = gistchat("run", "tiny.toml", *words, "--set", "evaluate.probe_items=3", cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    lines = (tiny_folder / "runs" / "tiny" / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    tuned = [row for row in rows if row["model"] == "tuned"]
    assert {(row["strategy"], row["budget"]) for row in tuned} == {
        ("last", None), ("full", None),
        *((name, budget) for name in ("recent", "summary", "hybrid", "shuffled") for budget in (16, 48)),
    }  # fmt: skip
    assert all(row["context_tokens"] <= row["budget"] for row in rows if row["budget"])
    metrics = json.loads((tiny_folder / "runs" / "tiny" / "metrics.json").read_text())
    assert metrics["budgets"] == [16, 48]
    assert {one["items"] for one in metrics["probe"]} == {3}
    assert metrics["cache_bytes_per_token"] == 2 * 2 * 64 * 4
