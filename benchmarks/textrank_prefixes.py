"""Summaries of every prefix of a dialogue: sumy's TextRank called on each prefix, against ours on the whole."""

import tempfile
from pathlib import Path

from figures import Pair

from gistchat.dialogue import Dialogue, load_dialogues
from gistchat.models import gpt2_tokenizer
from gistchat.prepare import DataConfig, prepare
from gistchat.summarize.extractive import _WORD, STOP_WORDS, split_sentences, summarize_prefixes
from gistchat.tokens import Encoder

DIALOGUES = 6


def setup():
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder))
        dialogues = load_dialogues(Path(folder) / "train.jsonl")
    chosen = [dialogue for dialogue in dialogues if 40 <= len(dialogue.turns) <= 80][:DIALOGUES]
    return chosen, Encoder(gpt2_tokenizer().backend_tokenizer.to_str()).lengths


def baseline(state) -> int:
    from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
    from sumy.summarizers.text_rank import TextRankSummarizer

    class Words:
        @staticmethod
        def to_words(text):
            return tuple(_WORD.findall(text))

    dialogues, _ = state
    summarizer = TextRankSummarizer()
    summarizer.stop_words = STOP_WORDS
    prefixes = 0
    for dialogue in dialogues:
        for k in range(1, len(dialogue.turns)):
            sentences = [Sentence(sentence.text, Words) for sentence in split_sentences(dialogue.turns[:k])]
            summarizer(ObjectDocumentModel([Paragraph(sentences)]), 6)
            prefixes += 1
    return prefixes


def ours(state) -> int:
    dialogues, count = state
    return sum(_prefixes(dialogue, count) for dialogue in dialogues)


def _prefixes(dialogue: Dialogue, count) -> int:
    return len(summarize_prefixes(dialogue.turns, "textrank", 96, count).picks) - 1


PAIR = Pair(
    "textrank_prefixes",
    "prefixes/s",
    f"{DIALOGUES} chitchat dialogues of 40 to 80 turns; baseline: `sumy`'s TextRank on every prefix. Ours also counts "
    "tokens and cuts every summary at its budget.",
    setup,
    baseline,
    ours,
    repeats=3,
)
