"""Summaries of every prefix of a dialogue: sumy's TextRank called on each prefix, against ours on the whole."""

import tempfile
from pathlib import Path

from figures import Measurement, Pair

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Dialogue
from gistchat.memory.sentences import content_words, split_sentences
from gistchat.memory.summarizers.extractive import summarize_prefixes
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prepare.prepare import prepare
from gistchat.prompts.token_store import Encoder
from gistchat.recipe.schema import DataConfig

DIALOGUES = 6
SENTENCES = 5
EVERY = 5  # picks are compared on each fifth prefix


def setup():
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder))
        dialogues = load_dialogues(Path(folder) / "train.jsonl")
    chosen = [dialogue for dialogue in dialogues if 40 <= len(dialogue.turns) <= 80][:DIALOGUES]
    return chosen, Encoder(gpt2_tokenizer().backend_tokenizer.to_str()).lengths


class Words:
    """The tokenizer that sumy is given: our words, without those that carry no content."""

    @staticmethod
    def to_words(text):
        return tuple(content_words(text))


def sumy_picks(dialogue: Dialogue, turns: int) -> set[int]:
    """The sentences that sumy's TextRank picks of the first turns, by number."""
    from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
    from sumy.summarizers.text_rank import TextRankSummarizer

    summarizer = TextRankSummarizer()
    sentences = [Sentence(sentence.text, Words) for sentence in split_sentences(dialogue.turns[:turns])]
    picked = summarizer(ObjectDocumentModel([Paragraph(sentences)]), SENTENCES)
    numbers = {id(sentence): number for number, sentence in enumerate(sentences)}
    return {numbers[id(sentence)] for sentence in picked}


def baseline(state) -> int:
    dialogues, _ = state
    prefixes = 0
    for dialogue in dialogues:
        for k in range(1, len(dialogue.turns)):
            sumy_picks(dialogue, k)
            prefixes += 1
    return prefixes


def agreement() -> float:
    """Prefixes, in percent, of which the best sentences are sumy's."""
    dialogues, _ = setup()
    same = []
    for dialogue in dialogues:
        # Every sentence counts one token, so a budget of two a sentence (each ends in a line break) ranks them all.
        made = summarize_prefixes(dialogue.turns, "textrank", 10**6, lambda texts: [1] * len(texts))
        for k in range(SENTENCES, len(dialogue.turns), EVERY):
            ours = [made.sentences[number] for number in made.picks[k][:SENTENCES]]
            all_of_prefix = split_sentences(dialogue.turns[:k])
            picked = sumy_picks(dialogue, k)
            theirs = [all_of_prefix[number] for number in picked]
            if len(ours) == len(theirs):
                same.append({(s.turn, s.text) for s in ours} == {(s.turn, s.text) for s in theirs})
    return 100 * sum(same) / len(same)


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

PICKS = Measurement(
    "textrank_picks",
    "% of prefixes",
    f"each fifth prefix of {DIALOGUES} chitchat dialogues of 40 to 80 turns: where our best {SENTENCES} sentences are "
    "those of `sumy`'s TextRank (ours never picks filler, which sumy may). The bound is what it should not fall below.",
    agreement,
    95,
)
