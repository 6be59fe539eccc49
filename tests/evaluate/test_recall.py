"""Recall of evidence: every layout is read, shares are right to the question, and bad input takes one line."""

import dataclasses
import json
import math

import pytest
from conftest import gistchat

from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.evaluate.recall import ConversationEnd, Plan, measure_recall, seats
from gistchat.evaluate.recall_files import Conversation, Question, read_collection
from gistchat.evaluate.recall_rows import Row, Tally, read_results
from gistchat.prompts.wording import render_line
from gistchat.recipe.schema import ContextConfig, SummaryConfig
from gistchat.report.recall import sections

FIELDS = ["strategy", "measure", "at", "group", "share", "any_part", "low", "high", "n"]

SAID = [
    ("Ann", "I moved to Lisbon in May."),  # 8 tokens, as `Words` counts them
    ("Ben", "How is the weather there?"),  # 6
    ("Ann", "My sister paints boats. She sold nine yesterday."),  # 10
    ("Ben", "Nine is a lot!"),  # 5
    ("Ann", "We ate grilled sardines."),  # 6
    ("Ben", "I prefer oranges."),  # 4
]
ASKED = [
    {"question": "Where did Ann move?", "evidence": [1], "category": "places"},
    {"question": "What was grilled, and what does Ben prefer?", "evidence": [5, 6], "category": "food"},
    {"question": "What does the sister paint, and who ate?", "evidence": [3, 5], "category": "food"},
    {"question": "Who sings?", "evidence": [2], "category": "music", "answerable": False},
]
OWN = {"id": "c1", "turns": [{"speaker": name, "text": text} for name, text in SAID], "questions": ASKED}

LOCOMO = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Ben",
        "session_10_date_time": "1:00 pm on 9 May, 2026",
        "session_10": [{"speaker": "Ben", "dia_id": "D10:1", "text": "Oranges are better."}],
        "session_2_date_time": "2:00 pm on 8 May, 2026",
        "session_2": [
            {"speaker": "Ann", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a photo of a boat by a quay"},
            {"speaker": "Ben", "dia_id": "D2:2", "text": "Nice."},
            {"speaker": "Ann", "dia_id": "D2:3", "text": "  "},
        ],
    },
    "qa": [
        {"question": "What did Ann show?", "answer": "a boat", "evidence": ["D2:1; D:10:01"], "category": 1},
        {
            "question": "What is better?",
            "answer": "oranges",
            "evidence": ["D10:1", "D10:1", "D99:1", "D99:1"],
            "category": 4,
        },
        {"question": "Who sang?", "answer": "nobody", "evidence": ["D2:2", "D"], "category": 5},
        {"question": "Why?", "answer": "", "evidence": [], "category": 3},
        {"question": "When?", "answer": "", "evidence": ["D2:3"], "category": 2},
    ],
}
REALTALK = {
    "name": {"speaker_1": "Ann", "speaker_2": "Ben"},
    "session_1": [
        {"speaker": "Ann", "dia_id": "D1:1", "clean_text": "I run.", "date_time": "29.12.2023, 10:00:00"},
        {"speaker": "Ben", "dia_id": "D1:2", "clean_text": "", "img_file": ["a.jpg"]},
        {"speaker": "Ben", "dia_id": "D1:3", "clean_text": "", "img_file": [], "blip_caption": "a dog"},
    ],
    "session_1_date_time": "29.12.2023",
    "qa": [{"question": "What does Ann do?", "answer": "run", "evidence": ["D1:1"], "category": 1}],
}
BEAM_CHAT = [
    {
        "batch_number": 1,
        "turns": [
            [
                {"role": "user", "id": 0, "content": "I use Redis.", "time_anchor": "May-08-2026"},
                {"role": "assistant", "id": 1, "content": "Good choice."},
            ],
            [{"role": "user", "id": 2, "content": "The sprint ends on Friday."}],
        ],
    },
    {"batch_number": 2, "turns": [[{"role": "assistant", "id": 3, "content": "I will remember that."}]]},
]
BEAM_PROBES = {
    "abstention": [{"question": "Who am I?"}],
    "knowledge_update": [{"question": "Which?", "source_chat_ids": {"original_info": [0], "updated": [[2], "3"]}}],
    "event_ordering": [{"question": "In which order?", "source_chat_ids": [2, 0, 2, 77]}],
}


class Words:
    """Token costs that can be added up by hand: a token a word, and one around each piece."""

    def turn_cost(self, turn):
        return len(turn.text.split()) + 1

    def line_cost(self, line):
        return len(render_line(line).split()) + 1

    def gist_cost(self):
        return 2

    def found_cost(self):
        return 2


def dates(conversation):
    return tuple(turn.date for turn in conversation.turns)


def plan(strategies, budgets, context=None, **summary):
    return Plan(
        strategies,
        budgets,
        context or ContextConfig(),
        SummaryConfig(**summary),
        Words(),
        lambda texts: [len(text.split()) for text in texts],
        limit=1000,
        tokens_of="words",
        resamples=200,
    )


def write(path, value):
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def own(tmp_path):
    return write(tmp_path / "own.json", OWN)


def shares(results, measure="budget", part="share"):
    """By strategy, place and group."""
    return {(row.strategy, row.at, row.group): getattr(row, part) for row in results.of(measure)}


# Layouts


def test_locomo(tmp_path):
    collection = read_collection(write(tmp_path / "locomo10.json", [LOCOMO]))
    [conversation] = collection.conversations
    assert (collection.layout, conversation.id) == ("LoCoMo", "conv-1")
    assert [turn[:2] for turn in conversation.turns] == [
        ("Ann", "Look! [shares a photo: a boat by a quay]"),
        ("Ben", "Nice."),
        ("Ben", "Oranges are better."),
    ]
    assert dates(conversation) == ("8 May, 2026",) * 2 + ("9 May, 2026",)
    assert conversation.questions == (
        Question("What did Ann show?", (0, 2), "multi-hop"),
        Question("What is better?", (2,), "single-hop"),
        Question("Who sang?", (1,), "adversarial", False),
    )
    assert collection.left_out.counts == {"questions without evidence": 2, "turns without text": 1}
    assert collection.left_out.unknown_ids == ["D99:1", "D", "D2:3"]
    assert "3 evidence ids of no turn (D99:1, D, D2:3)" in collection.left_out.in_words()


def test_a_folder_of_realtalk(tmp_path):
    for number in (10, 2):
        write(tmp_path / f"Chat_{number}.json", REALTALK)
    (tmp_path / "README.md").write_text("no conversation")
    collection = read_collection(tmp_path)
    assert collection.layout == "REALTALK"
    assert [conversation.id for conversation in collection.conversations] == ["Chat_2-1", "Chat_10-1"]
    first = collection.conversations[0]
    assert [turn.text for turn in first.turns] == ["I run.", "[shares a photo]", "[shares a photo: a dog]"]
    assert dates(first) == ("29.12.2023",) * 3


def test_other_conversations_in_locomos_layout_are_not_set_beside_its_published_figures(tmp_path):
    layout = read_collection(write(tmp_path / "a.json", [LOCOMO | {"sample_id": "mine"}])).layout
    assert layout != "LoCoMo"


@pytest.mark.parametrize("nested", [False, True])
def test_beam_with_nested_ids(tmp_path, nested):
    for name in ("10", "2"):
        folder = tmp_path / name
        probes = folder / "probing_questions" if nested else folder
        probes.mkdir(parents=True)
        write(folder / "chat.json", BEAM_CHAT)
        write(probes / "probing_questions.json", BEAM_PROBES)
    collection = read_collection(tmp_path)
    assert collection.layout == "BEAM"
    assert [conversation.id for conversation in collection.conversations] == ["2", "10"]
    first = collection.conversations[0]
    assert [turn.speaker for turn in first.turns] == ["user", "assistant", "user", "assistant"]
    assert dates(first) == ("May-08-2026",) * 4
    assert first.questions == (
        Question("Which?", (0, 2, 3), "knowledge_update"),
        Question("In which order?", (0, 2), "event_ordering"),
    )
    assert collection.left_out.counts == {"questions without evidence": 2}
    assert collection.left_out.unknown_ids == ["77", "77"]
    assert read_collection(tmp_path / "2").conversations[0] == first


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one.json", json.dumps(OWN, indent=1)),
        ("list.json", json.dumps([OWN])),
        ("lines.jsonl", json.dumps(OWN) + "\n\n"),
        ("lines.json", json.dumps(OWN) + "\n" + json.dumps(OWN)),
    ],
)
def test_own_conversations(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    collection = read_collection(tmp_path / name)
    assert len(collection.conversations) == (2 if name == "lines.json" else 1)
    for conversation in collection.conversations:
        assert [turn for turn in conversation.turns] == [Turn(*said) for said in SAID]
        assert [question.evidence for question in conversation.questions] == [(0,), (4, 5), (2, 4), (1,)]
        assert [question.answerable for question in conversation.questions] == [True, True, True, False]


def test_evidence_by_ids_of_ones_own(tmp_path):
    turns = [{"speaker": "a", "text": "x", "id": 7, "date": "today"}, {"speaker": "b", "text": "y", "id": "z"}]
    asked = {"question": "?!a", "evidence": [7, "z", 1]}
    [conversation] = read_collection(write(tmp_path / "a.json", {"turns": turns, "questions": [asked]})).conversations
    assert (conversation.questions[0].evidence, dates(conversation)) == ((0, 1), ("today", ""))
    del turns[0]["id"]  # now whole numbers count turns
    [conversation] = read_collection(
        write(tmp_path / "a.json", {"turns": turns, "questions": [asked | {"evidence": [1, "z", 3, 2]}]})
    ).conversations
    assert conversation.questions[0].evidence == (0, 1)


# Shares


def test_shares_of_the_latest_turns_by_hand(own):
    results = measure_recall(read_collection(own), plan(["recent"], [9, 10, 20, 21, 50]), "own.json")
    # Whole turns from the end: 4, 10, 15, 25 tokens ...
    expected = {
        9: {"all": 0.5 / 4, "answerable": 0.5 / 3, "food": 0.5 / 2, "places": 0, "music": 0},
        10: {"all": 1.5 / 4, "answerable": 1.5 / 3, "food": 1.5 / 2, "places": 0, "music": 0},
        20: {"all": 1.5 / 4, "answerable": 1.5 / 3, "food": 1.5 / 2, "places": 0, "music": 0},
        50: {"all": 1, "answerable": 1, "food": 1, "places": 1, "music": 1},
    }
    found = shares(results)
    for budget, groups in expected.items():
        for group, share in groups.items():
            assert found["recent", budget, group] == pytest.approx(share)
    assert shares(results, part="any_part") == pytest.approx(found)
    assert {row.group: row.n for row in results.rows} == {"all": 4, "answerable": 3, "food": 2, "places": 1, "music": 1}
    assert (results.questions, results.conversations, results.turns) == (4, 1, 6)
    assert results.of("rank") == []


def test_a_sentence_of_a_turn_is_a_part_of_it(own):
    results = measure_recall(read_collection(own), plan(["retrieval"], [10, 40]), "own.json")
    # Of 10 tokens 8 are left for "Ann: My sister paints boats." (6); the whole turn takes 10.
    whole, part = shares(results), shares(results, part="any_part")
    assert whole["retrieval", 10, "food"] < part["retrieval", 10, "food"]
    assert whole["retrieval", 40, "food"] == part["retrieval", 40, "food"] == 1
    assert whole["retrieval", 40, "places"] == 1


def test_ranks_by_hand(tmp_path):
    filler = [{"speaker": "Ben" if i % 2 else "Ann", "text": f"Nothing {i}."} for i in range(60)]
    turns = [{"speaker": "Ann", "text": "The violin is green."}, *filler, {"speaker": "Ben", "text": "A green violin?"}]
    asked = [{"question": "green violin", "evidence": [1, 62, 30]}, {"question": "zebra", "evidence": [1]}]
    path = write(tmp_path / "a.json", {"turns": turns, "questions": asked})
    results = measure_recall(read_collection(path), plan(["memory", "recent"], [20]), "a.json")
    found = shares(results, "rank")
    assert found == {
        ("memory", k, group): pytest.approx(2 / 3 / 2) for k in (5, 10, 25, 50) for group in ("all", "answerable")
    }
    assert shares(results, "rank", "any_part") == found


def test_the_share_grows_with_the_places_that_count(tmp_path):
    turns = [{"speaker": "Ann" if i % 2 else "Ben", "text": f"Violin {'nothing ' * i}"} for i in range(40)]
    asked = [{"question": "violin", "evidence": list(range(1, 41))}]
    path = write(tmp_path / "a.json", {"turns": turns, "questions": asked})
    results = measure_recall(read_collection(path), plan(["retrieval"], [20]), "a.json")
    assert [row.share for row in results.of("rank") if row.group == "all"] == [5 / 40, 10 / 40, 25 / 40, 1]


def test_a_rolling_gist_holds_what_left_the_window(own):
    collection = read_collection(own)
    results = measure_recall(collection, plan(["recent", "rolling"], [40, 20], method="lead"), "own.json")
    found = shares(results)
    # The gist of first sentences begins with "I moved to Lisbon in May.", which no longer fits word for word.
    assert found["recent", 20, "places"] == 0
    assert found["rolling", 20, "places"] == 1
    assert found["recent", 40, "places"] == found["rolling", 40, "places"] == 1


def test_summaries_and_strategies_without_a_budget(own):
    config = ContextConfig(full_limit=500)
    results = measure_recall(
        read_collection(own), plan(["last", "full", "summary", "hybrid"], [30], config, method="lead"), "own.json"
    )
    found = shares(results)
    assert (found["last", 500, "all"], found["full", 500, "all"]) == (0, 1)
    assert found["summary", 30, "places"] == 1  # the first sentences
    assert found["hybrid", 30, "food"] == pytest.approx(0.75)
    assert {row.at for row in results.rows} == {30, 500}


def test_what_of_the_evidence_stands_in_a_context():
    turns = tuple(Turn(*said) for said in SAID)
    end = ConversationEnd(Conversation("c", turns, ()))
    assert (end.asker, end.answerer, end.group) == ("Somebody", "Ben", True)
    last = RoleTurn(USER, "Somebody: Who?", 6)
    everything = set(range(6))

    def shown(lines=(), found=(), verbatim=(), last=last):
        return end.shown(Context(tuple(lines), tuple(verbatim), last, 0, 0, found=tuple(found)), everything)

    paints, sold = "My sister paints boats.", "She sold nine yesterday."
    assert shown() == (set(), set())
    assert shown(found=[GistLine(USER, turns[0].text, 0, (), "Ann")]) == ({0}, {0})
    assert shown(lines=[GistLine(USER, paints, 2)]) == (set(), {2})
    assert shown(lines=[GistLine(USER, sold, 2)], found=[GistLine(USER, paints, 2)]) == ({2}, {2})
    assert shown(lines=[GistLine(USER, paints, 2), GistLine(USER, paints, 2)]) == (set(), {2})
    assert shown(lines=[GistLine("", "They talked of boats.", 2, (2, 3))]) == (set(), {2, 3})
    assert shown(lines=[GistLine("", "By hand.", -1)]) == (set(), set())
    assert shown(lines=[GistLine(USER, "I moved to…", 0)]) == (set(), {0})
    assert shown(verbatim=[RoleTurn(ASSISTANT, turns[3].text, 3), RoleTurn(USER, f"Ann: {turns[4].text}", 4)]) == (
        {3, 4},
        {3, 4},
    )


def test_turns_that_are_joined_with_others_or_with_the_question_are_found():
    turns = tuple(
        Turn(name, text)
        for name, text in [("user", "One."), ("assistant", "Two."), ("assistant", "Three."), ("user", "Four.")]
    )
    end = ConversationEnd(Conversation("c", turns, ()))
    assert (end.asker, end.answerer, end.group) == ("user", "assistant", False)
    context = Context((), (RoleTurn(ASSISTANT, "Two.\nThree.", 1),), RoleTurn(USER, "Four.\nAnd?", 3), 1, 0)
    assert end.shown(context, {0, 1, 2, 3}) == ({1, 2, 3}, {1, 2, 3})
    cut = Context((), (RoleTurn(ASSISTANT, "Three.", 2),), RoleTurn(USER, "Four.\nAnd?", 3), 2, 0)
    assert end.shown(cut, {0, 1, 2, 3}) == ({2, 3}, {2, 3})


def test_who_asks():
    assert seats([Turn("user", "a"), Turn("model", "b"), Turn("user", "c")]) == ("user", "model")
    assert seats([Turn("Ann", "a"), Turn("Somebody", "b")]) == ("Somebody?", "Somebody")


def test_intervals_draw_conversations():
    tally = Tally()
    for conversation, share in ((0, 1.0), (0, 1.0), (0, 1.0), (1, 0.0)):
        tally.ask(conversation, "x" if conversation else "y", True)
        tally.add("recent", "budget", 96, share, share)
    rows = {row.group: row for row in tally.rows(500)}
    assert (rows["all"].share, rows["all"].low, rows["all"].high) == (0.75, 0, 1)
    assert (rows["y"].low, rows["y"].high, rows["y"].n) == (1, 1, 3)
    assert list(rows) == ["all", "answerable", "x", "y"]


def test_a_search_is_made_once_for_all_budgets(own, monkeypatch):
    from gistchat.memory.turn_index import TurnIndex

    asked = []
    find = TurnIndex.find
    monkeypatch.setattr(TurnIndex, "find", lambda *words: asked.append(words[1:]) or find(*words))
    measure_recall(read_collection(own), plan(["retrieval", "memory"], [10, 20, 40]), "own.json")
    assert len(asked) == len(set(asked))


# The command


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the command wrote and printed, with the packaged model's tokens."""
    folder = tmp_path_factory.mktemp("measured")
    write(folder / "locomo10.json", [LOCOMO, LOCOMO | {"sample_id": "conv-2"}])
    words = ("--budgets", "96,12", "--set", "context.found_share=0.5", "--out", "out")
    return folder, gistchat("recall", "locomo10.json", *words, cwd=folder)


def test_the_command_writes_rows_and_a_page(measured):
    folder, done = measured
    assert done.returncode == 0, done.stderr
    text = (folder / "out" / "recall.json").read_text()
    value = json.loads(text)
    assert all(list(row) == FIELDS for row in value["rows"])
    keys = [(row["strategy"], row["measure"], row["at"], row["group"]) for row in value["rows"]]
    assert len(keys) == len(set(keys))
    assert {row["strategy"] for row in value["rows"]} == {"recent", "rolling", "retrieval", "memory"}
    assert {row["at"] for row in value["rows"] if row["measure"] == "budget"} == {12, 96}
    assert {row["group"] for row in value["rows"]} == {"all", "answerable", "multi-hop", "single-hop", "adversarial"}
    assert all(0 <= row["low"] <= row["share"] <= row["high"] <= 1 for row in value["rows"])
    assert all(row["share"] <= row["any_part"] and row["n"] > 0 for row in value["rows"])
    assert (value["file"], value["questions"], value["unknown_ids"]) == ("locomo10.json", 6, 6)
    assert value["left_out"] == {"questions without evidence": 4, "turns without text": 2}
    assert value["settings"]["found_share"] == 0.5
    assert str(folder) not in text
    page = (folder / "out" / "recall.html").read_text()
    assert page.count("<svg") == 5  # two groups by budget and by rank, and the categories
    assert "DRAGON" in page
    assert str(folder) not in page


def test_the_command_prints_tables_and_what_was_left_out(measured):
    _, done = measured
    assert "left out: 4 questions without evidence, 2 turns without text, 6 evidence ids of no turn" in done.stderr
    for part in (
        "96",
        "R@50",
        "answerable (4)",
        "DRAGON (published)",
        "82.7",
        "adversarial (2)",
        "100.0 [100.0, 100.0]",
    ):
        assert part in done.stdout
    assert done.stdout.splitlines()[-2:] == ["-> out/recall.json", "-> out/recall.html"]


def test_results_are_opened_again(measured, tmp_path):
    folder, done = measured
    again = gistchat("recall", str(folder / "out" / "recall.json"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() in done.stdout
    results = read_results(folder / "out" / "recall.json")
    assert isinstance(results.rows[0], Row)
    assert [section.title for section in sections(results)] == [
        "Evidence in the prompt",
        "By category",
        "Ranking",
        "Ranking by category",
    ]
    refused = gistchat("recall", str(folder / "out" / "recall.json"), "--budgets", "64", cwd=tmp_path)
    assert refused.returncode == 1
    assert "these are results" in refused.stderr


def test_published_figures_stand_beside_locomo_only(measured):
    results = read_results(measured[0] / "out" / "recall.json")
    ranking = sections(dataclasses.replace(results, layout="own"))[-2]
    assert "DRAGON" not in ranking.note
    assert all("DRAGON" not in cell.text for row in ranking.table.rows for cell in row)


@pytest.mark.parametrize("change", [{"share": 2.0}, {"share": math.nan}, {"n": None}, {"measure": "other"}])
def test_damaged_results_take_one_line(measured, tmp_path, change):
    value = json.loads((measured[0] / "out" / "recall.json").read_text())
    value["rows"][1] |= change
    path = write(tmp_path / "recall.json", value)
    done = gistchat("recall", str(path), cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "damaged results" in done.stderr


def in_turns(**changes):
    return {"turns": [{"speaker": "a", "text": "b"}], "questions": [{"question": "c", "evidence": [1]}]} | changes


BAD = {
    "empty": (b"", "not valid JSON"),
    "not JSON": (b"{nope", "not valid JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not UTF-8"),
    "a number": (b"3", "expected 'turns' and 'questions'"),
    "an empty list": (b"[]", "no question with evidence"),
    "a list of lists": (b"[[1]]", "entry 1: expected 'turns'"),
    "another object": (b'{"a": 1}', "found: a"),
    "deep": (b'{"questions": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply"),
    "no questions": (json.dumps(in_turns(questions=[])).encode(), "no question with evidence"),
    "no turns": (json.dumps({"questions": []}).encode(), "missing field 'turns'"),
    "empty turn": (json.dumps(in_turns(turns=[{"speaker": "a", "text": " "}])).encode(), "'text' of turn 1 is empty"),
    "questions no list": (json.dumps(in_turns(questions={"a": 1})).encode(), "'questions' must be a list"),
    "a question no object": (json.dumps(in_turns(questions=["a"])).encode(), "question 1: expected an object"),
    "evidence no list": (
        json.dumps(in_turns(questions=[{"question": "a", "evidence": {"b": 1}}])).encode(),
        "question 1: 'evidence' must be a list",
    ),
    "category is all": (
        json.dumps(in_turns(questions=[{"question": "a", "evidence": [1], "category": "all"}])).encode(),
        "a category cannot be called 'all'",
    ),
    "unknown evidence only": (
        json.dumps(in_turns(questions=[{"question": "a", "evidence": [2]}])).encode(),
        "1 questions without evidence, 1 evidence ids of no turn (turn 2)",
    ),
    "locomo without texts": (
        json.dumps([LOCOMO | {"conversation": {"session_1": [{"speaker": "a"}]}}]).encode(),
        "entry 1: unexpected layout",
    ),
    "a BEAM chat alone": (json.dumps(BEAM_CHAT).encode(), "name the folder"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_take_one_line(tmp_path, kind):
    data, problem = BAD[kind]
    (tmp_path / "bad.json").write_bytes(data)
    done = gistchat("recall", "bad.json", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith("error: bad.json")
    assert problem in done.stderr


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "bad.jsonl").write_text(json.dumps(OWN) + "\n{nope\n")
    done = gistchat("recall", "bad.jsonl", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "bad.jsonl:2: not valid JSON" in done.stderr


def test_folders_that_cannot_be_read_take_one_line(tmp_path):
    for name in ("nothing", "chat", "mixed"):
        (tmp_path / name).mkdir()
    write(tmp_path / "chat" / "chat.json", BEAM_CHAT)
    write(tmp_path / "mixed" / "a.json", OWN)
    write(tmp_path / "mixed" / "b.json", REALTALK)
    problems = {"nothing": "neither .json", "chat": "without probing_questions.json", "mixed": "several layouts"}
    for name, problem in {**problems, "missing.json": "no such file"}.items():
        with pytest.raises(UserError, match=problem):
            read_collection(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--strategies", "hybird"], "'hybird' is no context strategy; there are: last, recent"),
        (["--strategies", "recent,gold"], "'gold' reads what these conversations do not have"),
        (["--strategies", "recent,recent"], "recent is there twice"),
        (["--strategies", ","], "give at least one"),
        (["--budgets", "0"], "0 is not between 1 and"),
        (["--budgets", "-5"], "-5 is not between 1 and"),
        (["--budgets", "96,many"], "'many' is not a whole number"),
        (["--budgets", "96,96"], "96 is there twice"),
        (["--set", "context.budget=5"], "give --budgets"),
        (["--set", "context.found=5"], "unknown field context.found"),
    ],
)
def test_bad_options_take_one_line(own, words, problem):
    done = gistchat("recall", own.name, *words, cwd=own.parent)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert problem in done.stderr
