"""What a model thinks aloud is no part of its reply: whole, as it grows, and where it thought only."""

import pytest
from template_families import FAMILIES, family_tokenizer

from gistchat.engines import stopping
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.prompts.formats import make_format
from gistchat.prompts.thoughts import closing, without_thoughts

SAID = {
    "Hello.": "Hello.",
    "<think>\nShe asks.\n</think>\n\nHello.": "Hello.",
    "<think>\n\n</think>\n\n<think>again</think>Hello.": "Hello.",
    "Hello. <think>Is that all?</think> And you?": "Hello. And you?",
    "<think>Let me see": "",
    "Hello. <think>Let me see": "Hello.",
    "</think>\n\nHello.": "Hello.",
    "[THINK]x[/THINK]Hello.": "Hello.",
    "<|channel>thought\nx<channel|>Hello.": "Hello.",
    "I <3 <b>think</b> [think] <": "I <3 <b>think</b> [think] <",
}


@pytest.mark.parametrize(("written", "said"), SAID.items())
def test_thoughts_are_left_out(written, said):
    assert without_thoughts(written).strip() == said


@pytest.mark.parametrize("as_text", [True, False], ids=["texts", "tokens"])
@pytest.mark.parametrize(("written", "said"), SAID.items())
@pytest.mark.parametrize("family", ["SmolLM2", "Qwen 3", "Gemma 4"])
def test_no_thought_is_shown_while_a_reply_grows(family, written, said, as_text):
    prompt_format = make_format("chat-template", family_tokenizer(FAMILIES[family]))
    tokenizer = prompt_format.tokenizer
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    reply, shown = PartialReply(prompt_format, Sampling(max_tokens=1000)), ""
    if as_text:
        for char in written:
            shown += reply.add(-1, 0.0, char)
            assert said.startswith(shown.rstrip())
    else:
        for token in ids:
            shown += reply.add(token)
            assert said.startswith(shown.rstrip())
    shown += reply.add(prompt_format.stop_ids[0])
    assert shown.strip() == reply.text.strip() == said


def test_a_reply_that_is_all_thought_is_empty_and_that_is_said(capsys):
    stopping.say_once.cache_clear()
    prompt_format = make_format("chat-template", family_tokenizer(FAMILIES["Qwen 3"]))
    ids = prompt_format.tokenizer("<think>\nWell, let me see what", add_special_tokens=False)["input_ids"]
    for _ in range(2):
        reply = PartialReply(prompt_format, Sampling(max_tokens=len(ids)))
        assert "".join(map(reply.add, ids)) == ""
        assert (reply.text, reply.ended) == ("", "length")
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("the model thought and did not answer")
    reply = PartialReply(prompt_format, Sampling(max_tokens=9))
    reply.add(prompt_format.stop_ids[0])  # nothing at all is not a thought
    assert capsys.readouterr().err == ""


def test_a_stop_text_in_a_thought_does_not_stop():
    prompt_format = make_format("chat-template", family_tokenizer(FAMILIES["Qwen 3"]))
    reply = PartialReply(prompt_format, Sampling(max_tokens=100, stop=("User:",)))
    for token in prompt_format.tokenizer("<think>User: hm</think>Hello. User: no", add_special_tokens=False)[
        "input_ids"
    ]:
        if not reply.ended:
            reply.add(token)
    assert (reply.text, reply.ended) == ("Hello.", "stop")


def test_a_thought_that_a_template_opens_is_closed():
    assert closing("<|im_start|>assistant\n<think>\n") == "\n</think>\n\n"
    assert closing("<|im_start|>assistant\n<think>") == "\n\n</think>\n\n"
    assert closing("<|im_start|>assistant\n<think>\n\n</think>\n\n") == ""
    assert closing("[INST]") == ""
