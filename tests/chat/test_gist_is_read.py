"""What memory holds, `/gist` shows and `/save` writes is what the model reads, at every budget."""

import itertools
from functools import cache

import pytest
from chitchat_dataset import ConversationDataset

from gistchat.chat import session_file
from gistchat.chat.describe import describe_gist
from gistchat.chat.session import ChatSession
from gistchat.context.strategies import STRATEGIES, Request, build_context
from gistchat.context.types import Sources
from gistchat.dialogue.jsonl import load_dialogues, write_jsonl
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import Target
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.summarizers.extractive import summarize_prefixes
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import load_tokenizer, model_limit
from gistchat.models.resolve import resolve_base
from gistchat.prompts.chat_template import ChatTemplate
from gistchat.prompts.token_count import token_counter
from gistchat.prompts.wording import render_gist
from gistchat.recipe.schema import ContextConfig, ModelConfig, SummaryConfig

pytestmark = pytest.mark.usefixtures("shared_servers")
BUDGETS = (32, 64, 96, 128, 256, 512)
WITH_GIST = [name for name, strategy in STRATEGIES.items() if strategy.has_gist and strategy.in_chat]


@cache
def real_texts():
    texts = (clean_text(text) for talk in ConversationDataset() for text in talk)
    return list(itertools.islice(filter(None, texts), 300))


def real_turns(number):
    """Turns of real chats one after the other, two speakers in turn; 300 at most."""
    return [Turn(("user", "model")[i % 2], text) for i, text in enumerate(real_texts()[:number])]


@pytest.fixture(scope="module")
def chat_template():
    return ChatTemplate(load_tokenizer(resolve_base(ModelConfig(), seed=0)))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("strategy", WITH_GIST)
def test_gist_save_and_prompt_agree_over_a_real_conversation(run_folder, tmp_path, prompts, strategy, budget):
    settings = [f"context.budget={budget}", f"chat.strategy={strategy}", "chat.max_reply_tokens=2"]
    session = ChatSession.open(run_folder, settings, seed=0)
    turns = real_turns(300)
    for start in range(0, 300, 100):
        session.hear(turns[start : start + 100])
        held = [line.text for line in session.next_gist_lines()]
        assert held
        if strategy == "rolling":
            assert held == [line.text for line in session.memory.current().sentences]
        session_file.save(session, path := tmp_path / f"{start}.jsonl")
        [saved] = load_dialogues(path)
        assert saved.meta["gist"] == " ".join(held)
        assert all(text in describe_gist(session) for text in held)
        loaded = session_file.load(session.model, path)
        assert [line.text for line in loaded.next_gist_lines()] == held
        session.say("And what do you think?")
        assert [line.text for line in session.context.lines] == held
        assert render_gist(session.context.lines) in prompts[-1]
        assert session.context.tokens <= budget
        assert session.notice == ""


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("kind", ["gpt2", "smollm2"])
def test_whoever_answers_reads_all_that_a_rolling_memory_holds(chat_template, checkpoint, kind, budget):
    prompt_format = chat_template if kind == "smollm2" else checkpoint.format
    turns = real_turns(160)
    [history], _ = MemoryFactory.of(SummaryConfig(), ContextConfig(budget=budget), prompt_format).roll([turns])
    shown = 0
    for answered in range(2, 160):
        sources = Sources(rolling_gist=history.at)
        context = build_context(
            "rolling", Request(turns[:answered], turns[answered].speaker, budget, prompt_format, sources)
        )
        held = history.at(answered - 1).sentences
        assert [line.text for line in context.lines] == [line.text for line in held]
        assert context.tokens <= budget
        shown += bool(held)
    assert shown > 50 or budget > 256


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_summary_shows_something_at_every_budget(chat_template, budget):
    turns = real_turns(60)
    summaries = summarize_prefixes(turns, "textrank", budget, token_counter(chat_template.tokenizer))
    for strategy, said in itertools.product(("summary", "hybrid"), range(20, 60)):
        sources = Sources(summary=summaries.of_prefix)
        request = Request(turns[:said], turns[said].speaker, budget, chat_template, sources)
        context = build_context(strategy, request)
        assert context.lines or context.boundary == 0
        assert context.tokens <= budget


def test_lines_by_hand_make_others_give_way_and_all_that_is_held_is_read(run_folder):
    session = ChatSession.open(run_folder, ["context.budget=96", "chat.strategy=rolling", "chat.max_reply_tokens=2"])
    session.hear(real_turns(40))
    for text in ("My dog is called Biscuit.", "I live in Lisbon.", "My sister Olga teaches physics there."):
        session.pin(text)
        held = session.next_gist_lines()
        assert held == list(session.memory.current().sentences)
        assert session.memory.pinned[-1].text == text
        assert session.memory.gist.sentences
        session.say("And you?")
        assert [line.text for line in session.context.lines] == [line.text for line in held]
        assert session.notice == ""
    with pytest.raises(UserError, match=r"lines by hand may have 83 tokens in all, these have 1\d\d"):
        session.pin("word " * 100)
    assert len(session.memory.pinned) == 3


def test_a_conversation_loaded_under_a_smaller_budget_holds_what_fits_there(run_folder, tmp_path):
    settings = ["chat.strategy=rolling", "chat.max_reply_tokens=2"]
    session = ChatSession.open(run_folder, [*settings, "context.budget=512"])
    session.hear(real_turns(80))
    session_file.save(session, tmp_path / "long.jsonl")
    small = ChatSession.open(run_folder, [*settings, "context.budget=64"])
    loaded = session_file.load(small.model, tmp_path / "long.jsonl")
    assert 0 < len(loaded.next_gist_lines()) < len(session.next_gist_lines())
    assert loaded.next_gist_lines() == list(loaded.memory.current().sentences)


def test_lines_by_hand_that_a_smaller_budget_cannot_hold_are_kept_and_said(run_folder, tmp_path):
    settings = ["chat.strategy=rolling", "chat.max_reply_tokens=2"]
    session = ChatSession.open(run_folder, [*settings, "context.budget=512"])
    session.pin("word " * 60)
    session.pin("My dog is called Biscuit.")
    session.hear(real_turns(20))
    session_file.save(session, tmp_path / "long.jsonl")
    small = ChatSession.open(run_folder, [*settings, "context.budget=40"])
    loaded = session_file.load(small.model, tmp_path / "long.jsonl")
    assert [line.text for line in loaded.memory.pinned] == [line.text for line in session.memory.pinned]
    assert "pinned, but not read: word word" in describe_gist(loaded)
    loaded.say("And you?")
    assert "My dog is called Biscuit." in [line.text for line in loaded.context.lines]
    assert "lines by hand that were not read: 1" in loaded.notice


def test_what_has_to_give_way_is_said(run_folder):
    session = ChatSession.open(run_folder, ["context.budget=256", "chat.strategy=rolling", "chat.max_reply_tokens=2"])
    session.hear(real_turns(60))
    held = session.next_gist_lines()
    session.say("word " * 940)  # of 1,024 that the model reads at once
    unread = len(held) - len(session.context.lines)
    assert unread > 0
    assert f"lines of the gist that were not read: {unread}, as the last turn leaves them no room" in session.notice
    tiny = ChatSession.open(run_folder, ["context.budget=12", "chat.strategy=rolling", "chat.max_reply_tokens=2"])
    tiny.hear(real_turns(20))
    tiny.say("And you?")
    assert tiny.next_gist_lines() == []
    assert "as a budget of 12 tokens holds no gist" in tiny.notice


GROUPS = [
    ["Anna", "Ben", "model", "Cleo"],
    ["Priya", "model", "Tom", "model", "Wei", "model"],
    ["王伟", "李娜", "model", "陈静", "model"],
]


def group_of(names, turns):
    said = zip(itertools.islice(itertools.cycle(names), turns), real_turns(turns), strict=True)
    return [Turn(name, turn.text) for name, turn in said]


@pytest.mark.parametrize("names", GROUPS)
@pytest.mark.parametrize("strategy", ["recent", *WITH_GIST])
def test_a_group_is_told_apart_by_name(run_folder, names, strategy):
    said = group_of(names, 48)
    settings = ["context.budget=160", f"chat.strategy={strategy}", "chat.max_reply_tokens=2"]
    session = ChatSession.open(run_folder, settings)
    context = session.context_of([*said, Turn(names[0], "Who of us said that?")])
    assert f"{names[0]}: Who of us said that?" in context.last.text
    for line in context.lines:
        speaker = said[line.turn].speaker
        assert (line.name, line.role) == (("", "assistant") if speaker == "model" else (speaker, "user"))
        assert (f"{speaker}: " if line.name else "You: ") + line.text in render_gist(context.lines)
    for turn in context.turns:
        for offset, text in enumerate(turn.text.split("\n")) if turn.role == "user" else ():
            assert text == f"{said[turn.first + offset].speaker}: {said[turn.first + offset].text}"
    assert context.tokens <= 160


@pytest.mark.parametrize("names", [*GROUPS, ["Anna", "Ben O'Neil", "person 0dbd21", "Zoë"]])
@pytest.mark.parametrize("strategy", ["last", "recent", *WITH_GIST])
def test_a_group_gives_the_same_prompt_in_training_and_in_chat(run_folder, checkpoint, tmp_path, names, strategy):
    session = ChatSession.open(run_folder, [f"chat.strategy={strategy}"])
    assert session.engine.name == "llamacpp"
    store = SummaryStore(tmp_path, checkpoint.recipe.summary, checkpoint.recipe.context, checkpoint.format, "t")
    builder = ExampleBuilder(checkpoint.format, checkpoint.recipe.context, store, model_limit(checkpoint.model.config))
    said = group_of(names, 40)
    for turn in range(20, 40, 3):
        # Without a speaker "model", the last one but who is answered answers.
        answerer = "model" if "model" in names and said[turn - 1].speaker != "model" else said[turn - 2].speaker
        dialogue = Dialogue(f"group{turn}", (*said[:turn], Turn(answerer, "Sure.")))
        store.add([dialogue])
        example = builder.build(Target(dialogue, turn), strategy)
        assert f"{said[turn - 1].speaker}: " in checkpoint.format.tokenizer.decode(example.prompt.ids)
        assert session.engine.format.encode(session.context_of(said[:turn])) == example.prompt


def test_a_saved_group_goes_on_in_a_chat_with_its_names(run_folder, tmp_path):
    write_jsonl(tmp_path / "group.jsonl", [Dialogue("g", (*group_of(GROUPS[1], 29), Turn("Ben", "I am last.")))])
    model = ChatSession.open(run_folder, ["context.budget=160"]).model
    session = session_file.load(model, tmp_path / "group.jsonl")
    assert {turn.speaker for turn in session.turns} == {"Priya", "Tom", "Wei", "model"}
    assert "nobody answered: 2 turns" in session.notice
    session.say("Hello from me")
    assert session.context.last.text == "user: Hello from me"
    others = [turn.text for turn in session.context.turns if turn.role == "user"]
    assert others
    assert all(text.startswith(("Priya: ", "Tom: ", "Wei: ")) for text in others)
    session_file.export_text(session, tmp_path / "group.txt")
    assert "2. Model: " in (tmp_path / "group.txt").read_text()
    assert "3. Tom: " in (tmp_path / "group.txt").read_text()


@pytest.mark.parametrize("name", ["Anna", "王伟", "+49 170 1234567"])
def test_two_who_talk_are_no_group_once_the_person_goes_on(run_folder, tmp_path, name):
    turns = [turn._replace(speaker=name) if turn.speaker == "user" else turn for turn in real_turns(30)]
    write_jsonl(tmp_path / "two.jsonl", [Dialogue("d", tuple(turns))])
    session = session_file.load(ChatSession.open(run_folder, ["context.budget=96"]).model, tmp_path / "two.jsonl")
    assert {turn.speaker for turn in session.turns} == {"user", "model"}
    session.say("And you?")
    assert session.notice == ""


@pytest.mark.parametrize("names", GROUPS)
def test_a_group_keeps_its_names_under_another_model(run_folder, names):
    settings = ["context.budget=160", "chat.strategy=rolling", "chat.max_reply_tokens=2"]
    model = ChatSession.open(run_folder, settings).model
    session = ChatSession(model, group=True)
    session.hear(group_of([name for name in names if name != "model"] + ["model"], 48))
    before = session.memory.current()
    session.switch_model(run_folder)
    assert session.memory.current() == before
    session.say("Who of us said that?")
    assert [line.text for line in session.context.lines] == [line.text for line in before.sentences]
    assert session.notice == ""


LONG_PINS = [
    ["My sister Olga teaches physics in a small town near Porto and visits us at Easter with both of her children."],
    ["我上周刚搬到杭州，房子就在西湖边上，每天早上都可以去跑步。", "明天下午三点要去医院看我奶奶，她上个月摔了一跤。"],
    ["I live in Lisbon.", "My dog is called Biscuit.", "मेरा भाई अमेरिका में सॉफ्टवेयर इंजीनियर है", "I work at the harbour."],
]


@pytest.mark.parametrize("pins", LONG_PINS)
@pytest.mark.parametrize("budget", [12, 24, 32, 64])
def test_lines_by_hand_that_do_not_fit_a_smaller_budget_leave_the_gist_what_is_left(run_folder, tmp_path, pins, budget):
    settings = ["chat.strategy=rolling", "chat.max_reply_tokens=2"]
    session = ChatSession.open(run_folder, [*settings, "context.budget=512"])
    session.hear(real_turns(80))
    for text in pins:
        session.pin(text)
    session_file.save(session, tmp_path / "pins.jsonl")
    small = ChatSession.open(run_folder, [*settings, f"context.budget={budget}"])
    loaded = session_file.load(small.model, tmp_path / "pins.jsonl")
    for text in ("And you?", "Really?", "I see."):
        loaded.say(text)
        shown = {line.text for line in loaded.context.lines}
        unread = [text for text in pins if text not in shown]
        assert (f"lines by hand that were not read: {len(unread)}, too long" in loaded.notice) == bool(unread)
        assert "lines of the gist that were not read" not in loaded.notice
        loaded.remember()
        shown_next = [line.text for line in loaded.next_gist_lines()]
        assert all(line.text in shown_next for line in loaded.memory.gist.sentences)


def test_after_a_turn_was_made_longer_all_is_read_or_summarised(run_folder):
    session = ChatSession.open(run_folder, ["context.budget=96", "chat.strategy=rolling", "chat.max_reply_tokens=2"])
    session.hear(
        [Turn("user", "Hi, I am Tom."), Turn("model", "Hello."), Turn("user", "How are you?"), Turn("model", "Fine.")]
    )
    assert session.memory.gist.end == 0
    session.edit_turn(3, "I moved to Hangzhou last week and live by the lake, where I run every morning. " * 6)
    session.say("And you?")
    assert session.context.lines
    assert session.notice == ""


@pytest.mark.parametrize("said", ["ok", "😂😂😂", "yes"])
def test_turns_that_leave_no_gist_are_said_not_to_be_read(run_folder, said):
    session = ChatSession.open(run_folder, ["context.budget=32", "chat.strategy=rolling", "chat.max_reply_tokens=2"])
    session.hear([Turn(("user", "model")[i % 2], said) for i in range(40)])
    session.say("And you?")
    assert f"turns not read: {session.context.boundary}, as the gist is empty" in session.notice
    none = ChatSession.open(run_folder, ["context.budget=96", "context.summary_share=0", "chat.strategy=rolling"])
    none.hear(real_turns(20))
    none.say("And you?")
    assert "as context.summary_share is 0" in none.notice
