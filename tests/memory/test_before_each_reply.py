"""summary.refresh = "reply": a model writes a summary of all before the last turn, for every reply, as in the paper."""

from pathlib import Path

import pytest
from conftest import make_dialogue

from gistchat.chat.session import ChatSession
from gistchat.errors import UserError
from gistchat.examples.build import builders_by_budget
from gistchat.examples.targets import Target
from gistchat.experiment import members
from gistchat.memory.factory import MemoryFactory, summary_settings
from gistchat.memory.summarizers import seq2seq
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.pipeline import open_workspace
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.load import find_recipe, load_recipe, override
from gistchat.recipe.schema import ContextConfig, Recipe, SummaryConfig
from gistchat.train.train import describe

SHORT = [
    ("Where did you buy that violin ? __eou__ At the market near the river . __eou__ It sounds old . __eou__ It is ."),
    ("I lost my bicycle . __eou__ Where ? __eou__ Behind the library . __eou__ Ask the teacher . __eou__ Yes ."),
    ("The garden looks dry . __eou__ Water it tonight . __eou__ The pump broke . __eou__ Call the engineer then ."),
    ("My sister paints mountains . __eou__ Does she sell them ? __eou__ Only to friends . __eou__ I would like one ."),
]


class Writer:
    """Writes a sentence with the last word that was said."""

    room, budget, asked = 500, 0, []

    def __init__(self, source, budget):
        Writer.budget = budget

    def count(self, texts):
        return [len(text.split()) for text in texts]

    def write(self, requests):
        Writer.asked += requests
        return [f"They talked of {request.dialogue.strip(' .?').split()[-1]}." for request in requests]


@pytest.fixture
def writer(monkeypatch):
    monkeypatch.setattr(seq2seq, "Seq2SeqWriter", Writer)
    monkeypatch.setattr(Writer, "asked", [])
    return Writer


@pytest.fixture
def paper(tmp_path):
    """The paper's recipe on dialogues as short as most of DailyDialog's, with a model of random weights."""
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
        (tmp_path / f"dialogues_{split}.txt").write_text("".join(f"{text} __eou__\n" for text in SHORT[:count]))
    local = [f"data.source={tmp_path}", f"data.folder={tmp_path / 'data'}", "model.init=scratch", "model.size=tiny"]
    return load_recipe(find_recipe("paper"), local)


def replies_without_a_written_summary(recipe: Recipe, folder: Path) -> tuple[list[Target], int]:
    """Those to whose model nothing written is shown; and how many replies there are."""
    workspace = open_workspace(recipe, folder)
    dialogues = [dialogue for split in ("train", "validation", "test") for dialogue in workspace.split(split)]
    workspace.summarize(dialogues)
    [builder] = builders_by_budget([], workspace.format, recipe.context, workspace.stores, 1024, dialogues).values()
    targets = [Target(dialogue, turn) for dialogue in dialogues for turn in dialogue.reply_indices()]
    shown = {target: builder.build(target, "summary").context.lines for target in targets}
    lacking = [target for target, lines in shown.items() if not any(line.text.startswith("They ") for line in lines)]
    return lacking, len(targets)


@pytest.mark.parametrize("variant", ["BART", "PEGASUS"])
def test_every_reply_of_the_papers_recipe_has_a_written_summary(paper, tmp_path, writer, variant):
    [recipe] = [recipe for member, recipe in members(paper, tmp_path / "runs") if member.variant == variant]
    lacking, replies = replies_without_a_written_summary(recipe, tmp_path / "run")
    assert replies > 15
    assert lacking != []
    assert {target.turn for target in lacking} == {1}  # nothing was said before the last turn
    assert writer.budget == recipe.context.budget == 128
    turns = open_workspace(recipe, tmp_path / "run").split("train")[0].turns
    beginnings = ["\n".join(f"{turn.speaker}: {turn.text}" for turn in turns[:end]) for end in range(1, len(turns) - 1)]
    assert {("", beginning) for beginning in beginnings} <= set(writer.asked)
    # A memory that rolls would have summarised nothing of such dialogues.
    rolled = override(recipe, ["summary.refresh=overflow"])
    lacking, _ = replies_without_a_written_summary(rolled, tmp_path / "rolled")
    assert len(lacking) == replies


def test_sentences_picked_by_textrank_stand_before_each_reply_too(paper, tmp_path):
    [recipe] = [recipe for member, recipe in members(paper, tmp_path / "runs") if member.variant == "TextRank"]
    workspace = open_workspace(recipe, tmp_path / "run")
    dialogues = workspace.split("train")
    workspace.summarize(dialogues)
    [builder] = builders_by_budget([], workspace.format, recipe.context, workspace.stores, 1024).values()
    targets = [Target(dialogue, turn) for dialogue in dialogues for turn in dialogue.reply_indices()]
    assert all(builder.build(target, "summary").context.lines for target in targets if target.turn > 1)


def test_what_is_refused_is_counted_and_picked_sentences_stand_in(writer, monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "write", lambda self, requests: ["They met Carlos in Rome."] * len(requests))
    factory = MemoryFactory.of(
        SummaryConfig("seq2seq", refresh="reply"), ContextConfig(), SpeakerTokens(gpt2_tokenizer())
    )
    turns = make_dialogue(0, turns=6).turns
    [history], refused = factory.histories([turns])
    assert len(refused) == len(history.gists) == 4
    assert [gist.end for _, gist in history.gists] == [said for said, _ in history.gists] == [1, 2, 3, 4]
    assert all(gist.made_by.startswith("textrank instead of seq2seq: names carlos") for _, gist in history.gists)
    assert all(gist.sentences for _, gist in history.gists)


def test_a_chat_is_shown_what_training_was(writer, run_folder, paper, tmp_path):
    settings = ["summary.method=seq2seq", "summary.refresh=reply", "chat.strategy=summary", "chat.max_reply_tokens=8"]
    session = ChatSession.open(run_folder, settings, seed=1)
    for text in ("Where did you buy that violin?", "It sounds old, like my bicycle.", "And the garden?"):
        "".join(session.reply(text))
        session.remember()
    assert session.gist_by == "seq2seq"
    assert [line.text for line in session.context.lines] == [
        f"They talked of {session.turns[3].text.strip(' .?').split()[-1]}."
    ]
    assert len(writer.asked) == 2  # none before the first reply
    asked = "\n".join(f"{turn.speaker}: {turn.text}" for turn in session.turns[:4])
    assert writer.asked[-1] == ("", asked)
    "".join(session.regenerate())
    assert len(writer.asked) == 2  # of the same turns it is kept
    factory = session.model.memories
    [history], _ = factory.histories([[*session.turns[:5], session.turns[5]]])
    assert [line.text for line in history.at(4).sentences] == [line.text for line in session.context.lines]


def test_a_chat_lives_on_without_its_summarizer(writer, run_folder, monkeypatch):
    settings = ["summary.method=seq2seq", "summary.refresh=reply", "chat.strategy=summary", "chat.max_reply_tokens=8"]
    session = ChatSession.open(run_folder, settings, seed=1)
    "".join(session.reply("I painted the kitchen near the harbour."))

    def fail(self, requests):
        raise UserError("out of order")

    monkeypatch.setattr(writer, "write", fail)
    "".join(session.reply("And the engine?"))
    assert session.notice == "no summary was written (out of order); sentences were picked instead"
    assert session.gist_by == "textrank instead of seq2seq: out of order"
    assert session.context.lines[0].text == "I painted the kitchen near the harbour."


def test_a_strategy_that_rolls_has_nothing_to_go_on_from():
    settings = ["summary.method=seq2seq", "summary.refresh=reply"]
    for section in ("train", "evaluate"):
        with pytest.raises(
            UserError, match=rf"summary\.refresh: 'reply' keeps no summary that 'rolling' of {section}\.st"
        ):
            override(Recipe(), [*settings, f"{section}.strategies=last,recent,rolling"])
    override(Recipe(), ["summary.refresh=reply", "train.strategies=rolling"])  # sentences are picked in any case


def test_older_fingerprints_stay_good():
    for method in ("textrank", "llm"):
        config = SummaryConfig(method)
        assert summary_settings(config) == {
            "method": method, "recency": 1.0, "model": "", "url": "", "prompt": ""
        }  # fmt: skip
        assert describe(Recipe(summary=config))["summary"] == summary_settings(config)
    assert summary_settings(SummaryConfig("textrank", refresh="reply")) == summary_settings(SummaryConfig("textrank"))
    written = [SummaryConfig(method, refresh=when) for method in ("llm", "seq2seq") for when in ("overflow", "reply")]
    assert len({str(summary_settings(config)) for config in written}) == 4
