"""Each reader on small files in its original layout, written for these tests."""

import json
import pickle

import pytest

from gistchat.corpora.kinds import kind_of_file
from gistchat.corpora.readers import CORPORA
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import SPLITS, LeftOut, Malformed
from gistchat.errors import UserError
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig


def read(corpus, path, text=None):
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(CORPORA[corpus].read(path))


def texts(dialogue):
    return [turn.text.strip() for turn in dialogue.turns]


def test_dailydialog(tmp_path):
    path = tmp_path / "dialogues_train.txt"
    one, bad, two = read(
        "dailydialog", path, "Hi . __eou__ Yes ? __eou__ Bye . __eou__\r\nHi . __eou__ I w\nA __eou__ B __eou__\n"
    )
    assert texts(one) == ["Hi .", "Yes ?", "Bye ."]
    assert [turn.speaker for turn in one.turns] == ["A", "B", "A"]
    assert isinstance(bad, Malformed)
    assert str(bad) == f"{path}:2: the last turn does not end in __eou__: a truncated line?"
    assert texts(two) == ["A", "B"]


PERSONA = """1 your persona: i like tea.
2 partner's persona: i sing.
3 hello .\thi , how are you ?\t\thi|bye|yes
4 fine .\tgood .
1 your persona: i ski.
2 __SILENCE__\thi !
3 hey\tbye
"""


def test_personachat_text_keeps_every_turn_and_the_personas(tmp_path):
    first, silence, second = read("personachat", tmp_path / "valid_self_original_no_cands.txt", PERSONA)
    assert silence == LeftOut("marks of silence", 1)
    assert texts(first) == ["hello .", "hi , how are you ?", "fine .", "good ."]
    assert first.meta["gold"] == [{"speaker": "B", "text": "i like tea."}, {"speaker": "A", "text": "i sing."}]
    assert texts(second) == ["hi !", "hey", "bye"]
    assert [turn.speaker for turn in second.turns] == ["B", "A", "B"]


def test_a_bad_line_spoils_its_own_personachat_dialogue_only(tmp_path):
    bad, _, good = read(
        "personachat", tmp_path / "v_self_original.txt", PERSONA.replace("4 fine .\tgood .", "4 fine .")
    )
    assert str(bad).endswith("v_self_original.txt:4: expected a turn, a tab and its answer")
    assert texts(good)


def test_personachat_json_keeps_the_last_reply(tmp_path):
    utterances = [
        {"history": ["hi", "hello", "how are you ?"], "candidates": ["no .", "fine ."]},
        {"history": ["hi"], "candidates": ["what ?", "hello"]},
    ]
    data = {"train": [{"personality": ["i ski."], "utterances": utterances}], "valid": [{"oops": 1}]}
    good, bad = read("personachat", tmp_path / "personachat_self_original.json", json.dumps(data))
    assert texts(good) == ["hi", "hello", "how are you ?", "fine ."]
    assert good.split == "train"
    assert "valid entry 0: unexpected layout" in str(bad)


EMPATHETIC = """conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags
hit:0,1,sad,I lost_comma_ badly,7,He said "no_comma_ never" to me,5|5|5,
hit:0,2,sad,I lost_comma_ badly,9,Oh no,5|5|5,
hit:1,1,glad,I won,3,"Hey
hit:1,2,glad,I won,4,You did,5|5,
hit:2,1,glad,I won,3,Hey,5|5,
hit:2,2,glad,I won,4,Well done,5|5,,extra
"""


def test_empathetic_dialogues_with_eight_columns_and_typed_quotes(tmp_path):
    first, bad, last = read("empathetic_dialogues", tmp_path / "test.csv", EMPATHETIC)
    assert texts(first) == ['He said "no, never" to me', "Oh no"]
    assert first.meta == {"situation": "I lost, badly", "emotion": "sad"}
    assert [turn.speaker for turn in first.turns] == ["7", "9"]
    assert str(bad).endswith("test.csv:4: expected 8 columns")
    assert texts(last) == ["Hey", "Well done"]
    with pytest.raises(UserError, match=r"test\.csv:1: missing column prompt"):
        read("empathetic_dialogues", tmp_path / "test.csv", "conv_id,utterance_idx,utterance\n")


def test_empathetic_dialogues_quoted_again(tmp_path):
    rows = 'conv_id,utterance_idx,prompt,utterance\nc,1,"I ""won"", ok","She said ""hi"""\nc,2,"I ""won"", ok",Oh\n'
    [dialogue] = read("empathetic_dialogues", tmp_path / "e.csv", rows)
    assert texts(dialogue) == ['She said "hi"', "Oh"]
    assert dialogue.meta["situation"] == 'I "won", ok'


def test_blended_skill_talk_layouts(tmp_path):
    parlai = {"free_turker_utterance": "p", "guided_turker_utterance": "q", "dialog": [[0, "a"], [1, "b"]]}
    entries = [
        {"dialogue": ["a", "b", "c"], "response": "d"},
        parlai | {"personas": [["i ski."], ["i sing."]]},
        {
            "previous_utterance": ["p", "q"],
            "free_messages": ["f", "h"],
            "guided_messages": ["g", "i"],
            "personas": ["x"],
        },
        {"free_messages": ["f"], "guided_messages": [], "previous_utterance": []},
    ]
    one, two, three, bad = read("blended_skill_talk", tmp_path / "bst_val.json", json.dumps(entries))
    assert texts(one) == ["a", "b", "c", "d"]
    assert texts(two) == ["p", "q", "a", "b"]
    assert three.meta["gold"] == [{"speaker": "B", "text": "x"}]
    assert two.meta["gold"] == [{"speaker": "A", "text": "i ski."}, {"speaker": "B", "text": "i sing."}]
    assert texts(three) == ["p", "q", "f", "g", "h", "i"]
    assert "entry 3: unexpected layout" in str(bad)


def test_dialogsum_and_samsum_keep_their_summaries(tmp_path):
    text = "#Person1#: Hi: you?\n#Person2#: Yes\nand no.\n"
    line = json.dumps({"fname": "dev_0", "dialogue": text, "summary": "They talk.", "topic": "talk"})
    good, bad = read("dialogsum", tmp_path / "dialogsum.dev.jsonl", line + '\n{"fname": "x"}\n')
    assert texts(good) == ["Hi: you?", "Yes\nand no."]
    assert good.meta["gold"] == [{"speaker": "", "text": "They talk."}]
    assert str(bad).startswith(f"{tmp_path / 'dialogsum.dev.jsonl'}:2: unexpected layout")
    entries = [{"id": "1", "dialogue": "Ann: Hi\r\nBen: Ho\r\nCat: Ha", "summary": "Hi."}]
    [dialogue] = read("samsum", tmp_path / "val.json", json.dumps(entries))
    assert [turn.speaker for turn in dialogue.turns] == ["Ann", "Ben", "Cat"]


def test_transcripts(tmp_path):
    path = tmp_path / "chat.txt"
    first, second, bad = read(
        "transcript", path, "Ann: Next day\nBen: Indeed\nit is\n\nA: b\nB: c\n---\nno name here\n"
    )
    assert texts(first) == ["Next day", "Indeed\nit is"]
    assert texts(second) == ["b", "c"]
    assert str(bad) == f"{path}:8: expected 'Name: words'"


@pytest.mark.parametrize(
    "said",
    [
        "Ann: see\n```\nBen: no turn\n\n---\n[12:01] log: x\n```\nand so on",
        "Ann: ```json\n{\n\n}```",
        "Ann: buy\n- milk: 2\n* tea: 1\n3. ham: 4",
        "Ann: so\n> Ben: hi\n# Title: x\n| a: | b |",
        "Ann: f\n    x: int\n\ty: str",
        "Ann: buy\n- fruit:\n  - apples: 2\n   1. red: 1\n• milk: 2\n– tea: 1",
        "Ann: ````md\n```yaml\na: 1\n```\n\nb: 2\n````\nand so on",
        "Ann: ```inline: code``` ok",
        "Ann: how do I type ``` here?",
    ],
)
def test_lines_of_a_transcript_that_continue_a_turn(tmp_path, said):
    [dialogue] = read("transcript", tmp_path / "c.txt", f"{said}\nBen: yes\n")
    assert [turn.speaker for turn in dialogue.turns] == ["Ann", "Ben"]
    assert dialogue.turns[0].text == said.removeprefix("Ann: ")


@pytest.mark.parametrize("lead", ["- ", "1. ", "\t", "    ", "> ", "• ", "– ", "  - "])
def test_a_transcript_may_stand_in_a_list(tmp_path, lead):
    [dialogue] = read("transcript", tmp_path / "c.txt", f"{lead}Ann: hi\n{lead}Ben: ho\n")
    assert texts(dialogue) == ["hi", "ho"]
    assert [turn.speaker for turn in dialogue.turns] == ["Ann", "Ben"]


def test_numbers_of_a_list_make_no_new_speakers(tmp_path):
    [dialogue] = read("transcript", tmp_path / "c.txt", "1. Ann: hi\n2. Ben: ho\n3. Ann: so\n4. Ben - Lee: yes\n")
    assert [turn.speaker for turn in dialogue.turns] == ["Ann", "Ben", "Ann", "Ben - Lee"]


@pytest.mark.parametrize("opened", ["B: see: ```", "B: ```python\nx = 1", "```"])
def test_a_block_of_code_that_never_ends_is_malformed(tmp_path, opened):
    path = tmp_path / "c.txt"
    good, bad = read("transcript", path, f"A: b\nB: c\n\nA: d\n{opened}\n\nA: e\nB: f\n")
    assert texts(good) == ["b", "c"]
    assert str(bad).startswith(f"{path}:5: a block of code begins here (```)")


def test_empty_lines_between_all_turns_end_no_dialogue(tmp_path):
    text = "ANN: Hi\n\nBEN: Ho:\n\nand more\n\nANN: Bye\n\n---\n\nBEN: Hi\n\nANN: Ho\n"
    one, two = read("transcript", tmp_path / "c.txt", text)
    assert [turn.speaker for turn in one.turns] == ["ANN", "BEN", "ANN"]
    assert one.turns[1].text.split() == ["Ho:", "and", "more"]
    assert [turn.speaker for turn in two.turns] == ["BEN", "ANN"]


@pytest.mark.parametrize("name", ["**{}:**", "**{}**:", "__{}:__"])
def test_names_may_be_bold(tmp_path, name):
    text = f"{name.format('Ann')} Hi\n{name.format('Ben')}\nHo **so: it** is\n"
    [dialogue] = read("transcript", tmp_path / "c.txt", text)
    assert [turn.speaker for turn in dialogue.turns] == ["Ann", "Ben"]
    assert texts(dialogue) == ["Hi", "Ho **so: it** is"]


def test_the_assistants_turns_of_a_transcript_are_learned(tmp_path):
    [dialogue] = read("transcript", tmp_path / "c.txt", "System: Be kind\nUser: Hi\nAssistant: Ho\n")
    assert [turn.speaker for turn in dialogue.turns] == ["user", "assistant"]
    assert (dialogue.scored_speakers, dialogue.meta) == (("assistant",), {"system": "Be kind"})


def test_telephone_numbers_are_names_in_transcripts(tmp_path):
    [dialogue] = read("transcript", tmp_path / "c.txt", "+49 170 1234567: Hi\n0170 7654321: Ho\n")
    assert [turn.speaker for turn in dialogue.turns] == ["+49 170 1234567", "0170 7654321"]


def test_a_time_before_the_name_is_left_out(tmp_path):
    [dialogue] = read("transcript", tmp_path / "c.txt", "[21:15] Ann: Hi\n[9:16:02 PM] Ben: Ho\nso\n")
    assert [(turn.speaker, turn.text) for turn in dialogue.turns] == [("Ann", "Hi"), ("Ben", "Ho\nso")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "From: Ann\nTo: Ben\nSubject: Hi\nDate: today\n\nHello Ben,\n",
            r"begin with headers \(Date, From, Subject, To\)",
        ),
        (
            "=====\nGuild: Home\nChannel: all\n=====\n\n[1/2/24 9:15 PM] Ann\nHi\n",
            r"begin with headers \(Channel, Guild\)",
        ),
        ("Once upon a time\nthere was a cat.\n\nAnn: Hi\n", "2 lines belong to nobody and 1 to a speaker"),
        ("1/2/24, 9:15 PM - Ann: Hi\n1/2/24, 9:16 PM - Ben: Ho\n", "whatsapp="),
        ("INFO: step 1\nWARNING: slow\n", "log"),
        ("2024~02~13 (10h05) Ann: Hi\n2024~02~13 (10h06) Ben: Ho\n", "--stamp"),
    ],
)
def test_what_is_no_dialogue_is_refused(tmp_path, text, problem):
    with pytest.raises(UserError, match=problem):
        read("transcript", tmp_path / "c.txt", text)


def test_tables_by_the_names_of_their_columns(tmp_path):
    path = tmp_path / "t.csv"
    rows = 'conversation_id,Role,When,message\r\n1,a,x,"hi, ""you""\nthere"\r\n1,b,x,yo\r\n'
    rows += "2,a,x\r\n2,b,x,ok\r\n,a,x,hm\r\n,,,\r\n1,,x,Ann left\r\n"
    _, nobody, one, two, three = read("table", path, rows)
    assert nobody == LeftOut("rows without a speaker", 1)
    assert texts(one) == ['hi, "you"\nthere', "yo"]
    assert str(two) == f"{path}:5: expected 4 columns, found 3"
    assert str(three) == f"{path}:7: empty dialogue"
    _, *apart = read("table", tmp_path / "s.csv", "dialogue;speaker;text\n1;a;x\n2;a;p\n1;b;y\n2;b;q\n")
    assert [texts(dialogue) for dialogue in apart] == [["x", "y"], ["p", "q"]]
    _, dialogue = read("table", tmp_path / "t.tsv", "dialogue\tspeaker\ttext\n1\ta\thi, you\n1\tb\tyo\n")
    assert texts(dialogue) == ["hi, you", "yo"]
    with pytest.raises(UserError, match=r"t\.csv:1: no column for the speaker .*found: id, text, dialogue"):
        read("table", path, "id,text,dialogue\n")


def test_chat_exports(tmp_path):
    messages = [("system", "be kind"), ("user", "hi"), ("assistant", "hello")]
    openai = {"messages": [{"role": role, "content": text} for role, text in messages]}
    sharegpt = {"id": "s", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    lines = [openai, sharegpt, {"messages": "hi"}, openai["messages"]]
    one, two, bad, three = read("chat", tmp_path / "c.jsonl", "\n".join(map(json.dumps, lines)))
    assert one.turns == two.turns == three.turns
    assert [turn.speaker for turn in one.turns] == ["user", "assistant"]
    assert one.meta == {"system": "be kind"}
    assert "c.jsonl:3: no 'messages' with role and content, nor 'conversations' with from and value (found: " in str(
        bad
    )
    openai["messages"] += [
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
        {"role": "user", "content": [{"type": "text", "text": "and?"}, {"type": "image_url"}]},
    ]
    left_out, four = read("chat", tmp_path / "c.jsonl", json.dumps(openai))
    assert left_out.count == 2
    assert texts(four) == ["hi", "hello", "and?"]
    openai["messages"] = openai["messages"][:3]
    assert read("chat", tmp_path / "c.json", json.dumps([openai]))[0].turns == one.turns


def test_tools_and_developers_are_no_speakers(tmp_path):
    steps = [("human", "weather?"), ("function_call", "{}"), ("observation", "22"), ("gpt", "Warm.")]
    sharegpt = {"conversations": [{"from": name, "value": text} for name, text in steps]}
    call = {"role": "assistant", "tool_calls": [{"id": "x"}]}
    said = [{"role": "user", "content": "weather?"}, call, {"role": "assistant", "content": "Warm."}]
    openai = {"messages": [{"role": "developer", "content": "be kind"}, *said]}
    left_out, one, call_left_out, two = read("chat", tmp_path / "c.json", json.dumps([sharegpt, openai]))
    assert (left_out.count, call_left_out.count) == (2, 1)
    assert texts(one) == texts(two) == ["weather?", "Warm."]
    assert two.meta == {"system": "be kind"}


EMPTY = [{"conversations": []}, {"conversations": None}, {"messages": []}, {"messages": None, "id": "x"}, []]
EMPTY += [{"messages": [{"role": "system", "content": "be kind"}]}]
SAID = [
    {"conversations": [{"from": "human", "value": f"hi {i}"}, {"from": "gpt", "value": f"hello {i}"}]} for i in range(3)
]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_a_conversation_without_turns_is_counted(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    values = [EMPTY[0], *SAID, *EMPTY[1:]]
    path.write_text("\n".join(map(json.dumps, values)) if suffix == ".jsonl" else json.dumps(values))
    report, _ = prepare(DataConfig(corpus="chat", source=str(path)), tmp_path / "out")
    assert (report["read"], report["kept"]) == (9, 3)
    assert report["dropped"] == {"no turns with text": 6}
    own = [
        {"turns": []},
        {"turns": None},
        *({"turns": [{"speaker": s, "text": f"{s} {i}"} for s in "ab"]} for i in "123"),
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, own)))
    report, _ = prepare(DataConfig(corpus="jsonl", source=str(tmp_path / "own.jsonl")), tmp_path / "own")
    assert (report["kept"], report["dropped"]) == (3, {"no turns with text": 2})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "[]", "no dialogue in .*a.json$"),
        ("a.jsonl", "", "no dialogue in .*a.jsonl$"),
        ("a.json", '{"conversations": []}', r"no dialogue is left of 1 read \(1 no turns with text\)"),
        ("a.jsonl", "[]\n[]", r"no dialogue is left of 2 read \(2 no turns with text\)"),
        ("a.json", '[{"messages": null}, []]', r"no dialogue is left of 2 read \(2 no turns with text\)"),
        ("a.jsonl", '{"messages": null, "conversations": [{"of": 1}]}', "a.jsonl:1: no 'messages' with role"),
        ("a.jsonl", '{"conversations": {}}', "a.jsonl:1: no 'messages' with role"),
        ("a.jsonl", "{}", r"a.jsonl:1: no 'messages' .*\(found: nothing\)"),
    ],
)
def test_a_file_without_dialogues_is_one_message(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    if content != "{}":
        assert kind_of_file(tmp_path / name) == "chat"
    with pytest.raises(UserError, match=message) as error:
        prepare(DataConfig(corpus="chat", source=str(tmp_path / name)), tmp_path / "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "name", "content", "message"),
    [
        (
            "facebook",
            "a.json",
            '{"messages": [{"sender_name": "Ann", "timestamp_ms": 1, "photos": [{"uri": "x"}]}]}',
            r"\(1 no turns with text\); left out: 1 messages without words \(media, links\)$",
        ),
        ("line", "a.txt", "[LINE] Chat history with Ann\nSaved on: 2023/05/14 21:20\n", "no message of LINE"),
        (
            "kakaotalk",
            "a.txt",
            "Ann 님과 카카오톡 대화\n저장한 날짜 : 2023-05-01 21:15:10\n",
            "no message of KakaoTalk",
        ),
    ],
)
def test_empty_exports_and_those_of_media_only_are_known(tmp_path, kind, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert kind_of_file(tmp_path / name) == kind
    with pytest.raises(UserError, match=message):
        prepare(DataConfig(corpus=kind, source=str(tmp_path / name)), tmp_path / "out")


@pytest.mark.parametrize("unseen", ["\u200b", "\u2060\ufeff", "\u3164", "\u00ad \u200f"])
def test_turns_that_show_nothing_are_counted(tmp_path, unseen):
    turns = [[("Ann", f"hi {i}"), ("Ben", unseen), ("Ben", f"hello {i}"), ("Ann", unseen)] for i in range(3)]
    turns.append([("Ann", unseen), ("Ben", unseen)])
    lines = [json.dumps({"turns": [{"speaker": s, "text": t} for s, t in dialogue]}) for dialogue in turns]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "a.txt").write_text("\n\n".join("\n".join(f"{s}: {t}" for s, t in dialogue) for dialogue in turns))
    for corpus, path in (("jsonl", "a.jsonl"), ("transcript", "a.txt")):
        report, _ = prepare(DataConfig(corpus=corpus, source=str(tmp_path / path)), tmp_path / corpus)
        assert report["left_out"] == {"turns without text": 8}
        assert (report["kept"], report["dropped"]) == (3, {"no turns with text": 1})
    said = [[{"role": speaker, "content": text} for speaker, text in dialogue] for dialogue in turns]
    left_out, one, *_ = read("chat", tmp_path / "c.json", json.dumps(said))
    assert (left_out.count, texts(one)) == (2, ["hi 0", "hello 0"])


def test_rows_are_put_in_the_order_that_a_column_tells(tmp_path):
    head = "conversation_id,timestamp,role,message\n"
    rows = "1,2024-01-01T10:02:00,a,third\n1,2024-01-01 10:00,a,first\n1,2024-01-01T10:01:00,b,second\n"
    [dialogue] = read("table", tmp_path / "t.csv", head + rows)
    assert texts(dialogue) == ["first", "second", "third"]
    bad, good = read("table", tmp_path / "t.csv", head + rows + "1,soon,b,x\n2,2,a,y\n2,1,b,x\n")
    assert str(bad).endswith(
        "t.csv:5: the turn's place 'soon' is neither a number nor a date (2024-12-31 or with 23:59:59)"
    )
    assert texts(good) == ["x", "y"]


def test_an_open_quote_does_not_swallow_the_file(tmp_path):
    rows = 'dialogue,speaker,text\n1,a,hi\n1,b,"never closed\n' + "".join(f"{i},a,x\n{i},b,y\n" for i in range(2, 50))
    with pytest.raises(UserError, match=r"t\.csv:\d+: a quote that is never closed"):
        read("table", tmp_path / "t.csv", rows)


@pytest.mark.parametrize(("corpus", "name"), [("table", "t.csv"), ("jsonl", "t.jsonl"), ("transcript", "t.txt")])
def test_other_encodings_and_archives_are_named(tmp_path, corpus, name):
    with pytest.raises(UserError, match="UTF-16; save the file as UTF-8"):
        read(corpus, tmp_path / name, "Ann: hi".encode("utf-16"))
    with pytest.raises(UserError, match="a compressed file; unpack it first"):
        read(corpus, tmp_path / name, b"\x1f\x8b\x08\x00...")


def test_a_place_that_is_no_number_spoils_its_empathetic_dialogue(tmp_path):
    bad, good = read(
        "empathetic_dialogues",
        tmp_path / "e.csv",
        EMPATHETIC.replace(":0,2,", ":0,x,").split("hit:1")[0] + ("hit:5,1,sad,p,1,One,5,\nhit:5,2,sad,p,2,Two,5,\n"),
    )
    assert str(bad).endswith("e.csv:3: utterance_idx 'x' is not a number")
    assert texts(good) == ["One", "Two"]


def test_triples_of_a_subject_stay_in_one_split(tmp_path):
    subjects = [[[f"They spoke of {i}.", f"q{i} {j}", f"r{i} {j}"] for j in range(5)] for i in range(12)]
    subjects.append([["", "hi", "ho"], ["only two", "parts"]])
    path = tmp_path / "summarized.json"
    path.write_text(json.dumps(subjects))
    config = DataConfig(corpus="triples", source=str(path), on_error="skip", test_share=0.3, validation_share=0.2)
    report, _ = prepare(config, tmp_path / "out")
    assert (report["read"], report["kept"], report["dropped"]) == (62, 61, {"malformed": 1})
    groups = [
        {dialogue.meta["group"] for dialogue in load_dialogues(tmp_path / "out" / f"{split}.jsonl")} for split in SPLITS
    ]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups)) == 13
    [dialogue] = [d for s in SPLITS for d in load_dialogues(tmp_path / "out" / f"{s}.jsonl") if d.turns[0].text == "hi"]
    assert "gold" not in dialogue.meta
    assert dialogue.reply_indices() == [1]


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_prepared_pickles_are_read_without_running_code(tmp_path, capsys):
    path = tmp_path / "train_utters.pickle"
    path.write_bytes(pickle.dumps([["hi", "ho", "bye"]]))
    [dialogue] = read("triples", path)
    assert texts(dialogue) == ["hi", "ho", "bye"]
    path.write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(UserError, match=r"refused as a pickle of plain lists .*builtins\.print"):
        read("triples", path)
    path.write_bytes(pickle.dumps([["hi"]])[:-3])
    with pytest.raises(UserError, match="refused as a pickle"):
        read("triples", path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("corpus", [name for name in CORPORA if name != "chitchat"])
def test_missing_sources_are_named(tmp_path, corpus):
    for source, message in (("", "say where"), (tmp_path, "no .* file in this"), (tmp_path / "x", "no such file")):
        with pytest.raises(UserError, match=message):
            prepare(DataConfig(corpus=corpus, source=str(source)), tmp_path / "out")


def test_official_splits_of_a_folder_are_kept(tmp_path):
    folder = tmp_path / "dd"
    folder.mkdir()
    for split in SPLITS:
        lines = f"Hi {split} . __eou__ Yes . __eou__\n" * 2 + f"{split} __eou__ b __eou__\n"
        (folder / f"dialogues_{split}.txt").write_text(lines)
    report, _ = prepare(DataConfig(corpus="dailydialog", source=str(folder)), tmp_path / "out")
    # Official held-out splits stay whole.
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [2, 3, 3]
    assert report["dropped"] == {"duplicate": 1}


def test_a_later_row_of_empathetic_dialogues_without_a_column_is_named(tmp_path):
    row = {"conv_id": "a", "utterance_idx": 1, "prompt": "p", "utterance": "hi"}
    rows = [row, {name: value for name, value in row.items() if name != "utterance"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"rows\.jsonl:2: missing column utterance"):
        list(CORPORA["empathetic_dialogues"].read(tmp_path / "rows.jsonl"))
