"""Summaries that a model writes: encoder-decoders, language models, endpoints, and the guards on all of them."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch
from conftest import make_dialogue
from transformers import (
    AddedToken,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from gistchat import trusted_hosts
from gistchat.chat.describe import describe_gist
from gistchat.chat.session import ChatSession
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.engines import openai_client as endpoint_module
from gistchat.errors import UserError
from gistchat.memory.factory import make_summarizer
from gistchat.memory.rolling import prompt_costs
from gistchat.memory.summarizer import Job, Update
from gistchat.memory.summarizers.abstractive import Abstractive, Request
from gistchat.memory.summarizers.endpoint import AT_ONCE, EndpointWriter
from gistchat.memory.summarizers.extractive import Extractor
from gistchat.memory.summarizers.faithfulness import faithfulness, fault, names_and_numbers, unsupported
from gistchat.memory.summarizers.language_model import LocalWriter
from gistchat.memory.summarizers.seq2seq import Seq2SeqWriter
from gistchat.memory.summarizers.summary_prompt import SummaryPrompt
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.schema import ContextConfig, SummaryConfig

TURNS = (
    Turn("Anna", "My sister Olga moved to Lisbon in 2019."),
    Turn("Ben", "Nice! Does she like the weather there?"),
    Turn("Anna", "She does, but the rent is 900 euros a month."),
    Turn("Ben", "That is more than I pay for my flat near the station."),
)
COST = prompt_costs(SpeakerTokens(gpt2_tokenizer())).line


def job(turns, gist=(), first=0, budget=40):
    return Job(tuple(gist), tuple(turns), first, budget, COST)


JOB = job(TURNS)


class Scripted:
    """A writer that says what it was told to, and remembers what it was asked."""

    room = 1000

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def count(self, texts):
        return [len(text.split()) for text in texts]

    def write(self, requests):
        self.asked += requests
        return [self.answers.pop(0) for _ in requests]


def summarizer(writer, budget=40):
    return Abstractive(writer, Extractor("textrank"), budget)


def test_a_written_summary_names_the_turns_that_its_sentences_come_from():
    writer = Scripted("Anna's sister Olga moved to Lisbon. Her rent is 900 euros. Ben")
    [update] = summarizer(writer).update([JOB])
    assert update.fell_back == ""
    assert [line.text for line in update.sentences] == [
        "Anna's sister Olga moved to Lisbon.",
        "Her rent is 900 euros.",  # and not the sentence that broke off
    ]
    assert [line.sources for line in update.sentences] == [(0,), (2,)]
    assert [line.turn for line in update.sentences] == [0, 2]
    assert writer.asked[0].dialogue.splitlines()[0] == "Anna: My sister Olga moved to Lisbon in 2019."


def test_a_rolled_summary_is_asked_for_with_the_one_before_and_keeps_its_sources():
    before = Sentence(0, "", "Olga lives in Lisbon.", (0,))
    writer = Scripted("Olga lives in Lisbon. Ben pays less for his flat near the station.")
    [update] = summarizer(writer).update([job(TURNS[2:], [before], 2)])
    assert writer.asked == [Request("Olga lives in Lisbon.", "\n".join(f"{t.speaker}: {t.text}" for t in TURNS[2:]))]
    assert [line.sources for line in update.sentences] == [(0,), (3,)]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("👍", "empty"),
        (" ".join(f"{letter} and more" for letter in "abcdefghijklmnop"), "longer than its source"),
        ("Does she like the weather there? She does, but the rent is 900 euros a month.", "copies its source"),
        ("She likes the rent there. " * 3, "repeats itself"),
        ("Olga moved to Lisbon with her friend Carlos.", "names carlos, which the source does not"),
        ("Her rent is 950 euros.", "names 950, which the source does not"),
    ],
)
def test_a_summary_that_cannot_be_trusted_gives_way_to_the_extractive_one(written, reason):
    [update] = summarizer(Scripted(written), budget=60).update([job(TURNS, budget=60)])
    assert update.fell_back == reason
    assert update.sentences == Extractor("textrank").update([job(TURNS, budget=60)])[0].sentences != ()


def test_names_and_numbers():
    text = "Going home, Olga met Ben's friend at 7:30. Carlos Diaz said hi. I'm OK, User. Monday was fine."
    assert names_and_numbers(text) == ["olga", "ben", "7:30", "carlos", "diaz"]
    assert unsupported("In Paris, Olga paid 12 euros.", "olga: I paid 12 euros in rome") == ["paris"]
    assert faithfulness([("In Paris, Olga paid 12 euros.", "Olga paid 12")]) == [(2, 3)]
    assert fault("Olga moved.", "Olga: I moved to Rome.") == ""


CHINESE_SOURCE = (
    "Anna: 我妹妹Olga去年搬到里斯本了。\nBen: 她喜欢吗？\nAnna: 很喜欢，那里天气很好，海也很近，但是房租要900欧元。"
)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("Olga住在里斯本，房租是900欧元。", ""),
        ("安娜的妹妹喜欢里斯本，觉得那里房租贵。", ""),
        ("Olga去年搬到里斯本了，那里天气很好，但是房租要900欧元。", ""),  # phrases, as any summary shares
        ("她妹妹在海边生活，房租是950欧元。", "names 950, which the source does not"),
        ("我妹妹Olga去年搬到里斯本了。很喜欢，那里天气很好，海也很近", "copies its source"),
        ("她妹妹很喜欢那里的天气。" * 3, "repeats itself"),
        ("妹妹" + "在里斯本住了很多年，" * 2 + "天" * 60, "longer than its source"),
    ],
)
def test_the_guards_read_scripts_without_spaces(written, reason):
    assert fault(written, CHINESE_SOURCE) == reason


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('He left. "Yes, Zoe" said Ann (Tom knew).', ["zoe", "ann", "tom"]),
        ("Мы с Ольгой видели Ивана. Было тепло!", ["ольгой", "ивана"]),
        ("¿Y Marta? ¡Claro! ¿Cuándo? Con Zoe\u0308.", ["marta", "zoë"]),
        ("我妹妹Olga在2019年搬走了", ["olga", "2019"]),
    ],
)
def test_names_and_numbers_of_other_languages(text, names):
    assert names_and_numbers(text) == names
    assert unsupported(text, " ".join(names)) == []


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("安娜的妹妹住在里斯本。房租是900欧元。本觉得", ["安娜的妹妹住在里斯本。", "房租是900欧元。"]),
        ("अन्ना की बहन लिस्बन में है। किराया 900 है। बेन", ["अन्ना की बहन लिस्बन में है।", "किराया 900 है।"]),
        ("Сестра живёт далеко. Аренда стоит 900 евро. Бен", ["Сестра живёт далеко.", "Аренда стоит 900 евро."]),
    ],
)
def test_written_sentences_of_any_script_stand_by_themselves(written, kept):
    [update] = summarizer(Scripted(written), budget=200).update([job(TURNS, budget=200)])
    assert update.fell_back == ""
    assert [line.text for line in update.sentences] == kept


def test_what_a_writer_cannot_read_at_once_goes_to_it_in_pieces_and_nothing_is_lost():
    long = Turn("Anna", " ".join(f"word{i}" for i in range(500)))
    writer = Scripted(*["They talked."] * 40)
    writer.room = 110
    summarizer(writer, budget=40).update([job([*TURNS, long, *TURNS])])
    said = " ".join(line.partition(": ")[2] for request in writer.asked for line in request.dialogue.splitlines())
    assert said == " ".join(turn.text for turn in (*TURNS, long, *TURNS))
    assert all(writer.count([request.dialogue])[0] <= 110 - 40 for request in writer.asked)
    assert len(writer.asked) > 5


def test_an_empty_job_keeps_its_gist():
    writer = Scripted()
    before = Sentence(0, "", "Olga lives in Lisbon.", (0,))
    assert summarizer(writer).update([job([], [before], 3), job([])]) == [Update((before,)), Update(())]


def save_tiny(folder, kind):
    """A random BART or T5 of two layers with the GPT-2 tokenizer."""
    torch.manual_seed(0)
    tokenizer = gpt2_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    shape = {"vocab_size": len(tokenizer), "d_model": 32}
    end = tokenizer.eos_token_id
    tokens = {"pad_token_id": end, "eos_token_id": end, "bos_token_id": end, "decoder_start_token_id": end}
    if kind == "bart":
        layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        size = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128}
        config = BartConfig(**shape, **layers, **size, **tokens, forced_eos_token_id=end)
        model = BartForConditionalGeneration(config)
    else:
        config = T5Config(**shape, d_kv=16, d_ff=64, num_layers=2, num_heads=2, **tokens)
        config.task_specific_params = {"summarization": {"prefix": "summarize: "}}
        model = T5ForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("special", [True, False])
def test_a_summarizer_may_lack_a_row_for_a_control_token_only(tmp_path, special):
    """As facebook/bart-large-cnn does for <mask>."""
    folder = save_tiny(tmp_path / "bart", "bart")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken("<blank>", special=special)])
    tokenizer.save_pretrained(folder)
    if special:
        assert len(Seq2SeqWriter(str(folder), 12).write([Request("", "Anna: what is <blank>?")])) == 1
    else:
        with pytest.raises(UserError, match="not a pair"):
            Seq2SeqWriter(str(folder), 12)


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_an_encoder_decoder_gets_whole_inputs_and_exact_arguments(tmp_path, kind):
    writer = Seq2SeqWriter(str(save_tiny(tmp_path / kind, kind)), 12)
    calls = []
    generate = writer.model.generate
    writer.model.generate = lambda **arguments: calls.append(arguments) or generate(**arguments)
    requests = [Request("", "Anna: Hi.\nBen: Hello there!"), Request("They met.", "Anna: " + "so " * 60)]
    texts = writer.write(requests)
    assert len(texts) == 2
    config = calls[0]["generation_config"]
    assert (config.max_new_tokens, config.num_beams, config.do_sample) == (12, 4, False)
    assert (config.no_repeat_ngram_size, config.early_stopping) == (3, True)
    assert config.decoder_start_token_id == writer.model.config.decoder_start_token_id
    read = [
        writer.tokenizer.decode(row[mask.bool()], skip_special_tokens=True)
        for call in calls
        for row, mask in zip(call["input_ids"], call["attention_mask"], strict=True)
    ]
    prefix = "summarize: " if kind == "t5" else ""
    assert sorted(read) == sorted(prefix + "\n".join(filter(None, request)) for request in requests)
    assert writer.room <= (128 if kind == "bart" else 513)
    # Batched or alone, a summary is the same; and a dialogue over the encoder's limit is read in pieces.
    assert [writer.write([request])[0] for request in requests] == texts
    calls.clear()
    long = job(make_dialogue(0, turns=40).turns, budget=12)
    [update] = Abstractive(writer, Extractor("textrank"), 12).update([long])
    assert update.sentences or update.fell_back
    assert all(call["input_ids"].shape[1] <= (128 if kind == "bart" else 512) for call in calls)


# What generation configurations hold that were made for news: of BART, of PEGASUS, and all else that hinders an end.
NEWS = {"min_length": 8, "max_length": 11, "length_penalty": 2.0, "num_beams": 4, "no_repeat_ngram_size": 3}
NEWS |= {"early_stopping": True}
HINDERED = {"min_new_tokens": 8, "length_penalty": 0.6, "repetition_penalty": 1.5}


@pytest.mark.parametrize("values", [NEWS, HINDERED, {"suppress": True}])
@pytest.mark.parametrize("place", ["config.json", "generation_config.json"])
def test_a_summary_ends_where_the_model_ends_it(tmp_path, values, place):
    folder = save_tiny(tmp_path / "bart", "bart")
    model = BartForConditionalGeneration.from_pretrained(folder)
    end, first = model.config.eos_token_id, 0  # an id that is 0 counts as one
    model.final_logits_bias[0, end] = 1000.0  # it would end after its first token
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    if "suppress" in values:
        values = {"suppress_tokens": [end], "begin_suppress_tokens": [end], "sequence_bias": [[[end], -5000.0]]}
    config = json.loads((folder / "config.json").read_text())
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id")
    values = {name: config[name] for name in names} | values | {"forced_bos_token_id": first, "forced_eos_token_id": 7}
    if place == "config.json":
        config |= values
    else:
        config.pop("decoder_start_token_id")
        (folder / place).write_text(json.dumps(values))
    (folder / "config.json").write_text(json.dumps(config))
    writer = Seq2SeqWriter(str(folder), 12)
    outputs = []
    generate = writer.model.generate
    writer.model.generate = lambda **arguments: outputs.append(generate(**arguments)) or outputs[-1]
    [text] = writer.write([Request("", "Anna: Hi.\nBen: Hello there!")])
    assert outputs[0].tolist() == [[end, first, end]]
    assert text == writer.tokenizer.decode([first])


def test_a_model_of_another_kind_is_refused(tmp_path, tiny_base):
    with pytest.raises(UserError, match="cannot load the model"):
        Seq2SeqWriter(tiny_base.source, 12)
    with pytest.raises(UserError, match=r"\./nowhere: no such folder"):
        Seq2SeqWriter("./nowhere", 12)
    with pytest.raises(UserError, match="no chat template"):
        LocalWriter(tiny_base.source, 12, "")


def test_the_packaged_model_summarises():
    made = make_summarizer(SummaryConfig(method="llm"), 40)
    updates = made.update([JOB, job(make_dialogue(0, turns=8).turns)])
    assert all(update.sentences for update in updates)
    for update in updates:
        assert sum(map(COST, update.sentences)) <= 40


def test_a_prompt_of_ones_own(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text("In {{ words }} words{% if summary %} after {{ summary }}{% endif %}:\n{{ dialogue }}")
    assert SummaryPrompt(str(path), 20).fill(Request("", "a: {{ hi }}")) == "In 14 words:\na: {{ hi }}"
    assert SummaryPrompt(str(path), 20).fill(Request("X", "a: b")) == "In 14 words after X:\na: b"
    for text, problem in (("Summarize!", "where the dialogue goes"), ("{{ dialog }}", "dialog"), ("{% if %}", ":1:")):
        path.write_text(text)
        with pytest.raises(UserError, match=problem):
            SummaryPrompt(str(path), 20)
    with pytest.raises(UserError, match="cannot be read"):
        SummaryPrompt(str(tmp_path / "none.txt"), 20)


class ChatClient(BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose answers are scripted; every entry is used once, the last one for ever."""

    script: ClassVar[list] = []
    asked: ClassVar[list] = []
    at_once = most_at_once = 0
    lock = threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            ChatClient.asked.append((self.path, self.headers["Authorization"], body))
            ChatClient.at_once += 1
            ChatClient.most_at_once = max(ChatClient.most_at_once, ChatClient.at_once)
            kind = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        time.sleep(0.05 if kind != "slow" else 1.5)
        status, content = {"busy": (429, "{}"), "html": (200, "<html>Welcome</html>"), "key": (401, "{}")}.get(
            str(kind), (200, json.dumps(self.completion("Olga moved to Lisbon." if kind == "slow" else kind)))
        )
        with self.lock:
            ChatClient.at_once -= 1
        with contextlib.suppress(BrokenPipeError):  # whoever asked may have given up
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if kind == "html" else "application/json")
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content.encode())

    @staticmethod
    def completion(text):
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}

    def log_message(self, *words):
        pass


@pytest.fixture
def endpoint(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), ChatClient)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ChatClient.asked, ChatClient.at_once, ChatClient.most_at_once = [], 0, 0
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setattr(endpoint_module, "RETRIES", 2)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    trusted_hosts.trust(url)  # as the user who names it
    yield url
    server.shutdown()
    server.server_close()


def test_an_endpoint_is_asked_again_when_busy_and_not_by_too_many_at_once(endpoint):
    ChatClient.script = ["busy", "Olga moved to Lisbon."]
    writer = EndpointWriter(endpoint, "m", 40, "")
    updates = summarizer(writer).update([JOB] * 12)
    assert [update.sentences[0].text for update in updates] == ["Olga moved to Lisbon."] * 12
    assert len(ChatClient.asked) == 13
    assert ChatClient.most_at_once <= AT_ONCE
    path, key, body = ChatClient.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 40, 0.0)
    assert "Ben: Nice!" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (["html"], "not the answer of a chat endpoint"),
        (["busy"], "answers 429"),
        (["key"], "answers 401 .* is OPENAI_API_KEY set"),
    ],
)
def test_an_endpoint_that_fails_is_one_clear_error(endpoint, script, problem):
    ChatClient.script = script
    with pytest.raises(UserError, match=problem):
        EndpointWriter(endpoint, "m", 40, "").write([Request("", "a: b")])


def test_an_endpoint_that_is_slow_or_down(endpoint, monkeypatch):
    ChatClient.script = ["slow"]
    monkeypatch.setattr(endpoint_module, "TIMEOUT", 0.3)
    monkeypatch.setattr(endpoint_module, "RETRIES", 1)
    with pytest.raises(UserError, match="no answer within"):
        EndpointWriter(endpoint, "m", 40, "").write([Request("", "a: b")])
    with pytest.raises(UserError, match="cannot be reached"):
        EndpointWriter("http://127.0.0.1:9/v1", "m", 40, "").write([Request("", "a: b")])
    with pytest.raises(UserError, match="no server address"):
        EndpointWriter("localhost:9", "m", 40, "")


@pytest.mark.parametrize("said", [{"text": "Olga moved."}, 7, ["Olga moved."], None])
def test_what_is_no_answer_is_not_stored_as_a_summary(tmp_path, endpoint, said):
    ChatClient.script = [said]
    config = SummaryConfig(method="endpoint", model="m", url=endpoint)
    store = SummaryStore(tmp_path, config, ContextConfig(budget=60), SpeakerTokens(gpt2_tokenizer()), "t")
    with pytest.raises(UserError, match="not the answer of a chat endpoint"):
        store.add([make_dialogue(0, turns=30)])
    assert not store.path.exists()
    ChatClient.script = ["They talked about a dog."]
    assert store.add([make_dialogue(0, turns=30)]) == 1


def test_where_an_endpoint_says_nothing_sentences_are_picked_and_counted(tmp_path, endpoint, capsys):
    ChatClient.script = [""]
    config = SummaryConfig(method="endpoint", model="m", url=endpoint)
    store = SummaryStore(tmp_path, config, ContextConfig(budget=60), SpeakerTokens(gpt2_tokenizer()), "t")
    dialogue = make_dialogue(0, turns=30)
    store.add([dialogue])
    assert "the answer is empty" in capsys.readouterr().err
    gists = [gist for _, gist in store.get(dialogue).history.gists]
    assert {gist.made_by for gist in gists if gist.sentences} == {"textrank instead of endpoint: empty"}


@pytest.mark.parametrize("text", ["...", "👍", "x" * 20_000, "你好，我住在北京。", "</s><pad><s> <|endoftext|>"])
def test_odd_turns_give_a_valid_gist_and_no_control_token(tmp_path, text):
    writer = Seq2SeqWriter(str(save_tiny(tmp_path / "bart", "bart")), 12)
    read = []
    generate = writer.model.generate
    writer.model.generate = lambda **arguments: read.append(arguments["input_ids"]) or generate(**arguments)
    odd = job([Turn("a", text), Turn("b", "We moved to the harbour."), Turn("a", text)], budget=12)
    [update] = Abstractive(writer, Extractor("textrank"), 12).update([odd])
    assert sum(map(COST, update.sentences)) <= 12
    end = writer.tokenizer.eos_token_id  # also what pads
    for row in (row for ids in read for row in ids.tolist()):
        assert end not in row[: len(row) - row[::-1].index(next(i for i in row[::-1] if i != end))]


def test_a_chat_shows_what_an_endpoint_wrote_and_lives_on_without_it(run_folder, endpoint):
    ChatClient.script = ["They talked about ships."]
    settings = ["chat.max_reply_tokens=8", "context.budget=60", "summary.method=endpoint", "summary.model=m"]
    session = ChatSession.open(run_folder, [*settings, f"summary.url={endpoint}"], seed=1)
    for _ in range(4):
        "".join(session.reply("I saw some ships near the harbour, and the people talked about them for a long while."))
        session.remember()
    assert session.notice == ""
    "".join(session.reply("What now?"))
    shown = describe_gist(session)
    assert f"gist of turns 1 to {session.context.boundary}, by endpoint:" in shown
    assert "They talked about ships.  (turn" in shown
    gist = session.memory.gist
    ChatClient.script = ["html"]
    for _ in range(3):
        "".join(session.reply("The lighthouse was painted yellow again by the neighbours, who like the colour a lot."))
        session.remember()
        assert "no new summary, the last one stays" in session.notice
    assert session.memory.gist == gist
    assert session.memory.turns == len(session.turns)  # nothing that was said is lost
    ChatClient.script = ["They talked about ships."]
    session.remember()
    assert session.memory.gist.end > gist.end
