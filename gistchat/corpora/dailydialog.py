"""DailyDialog (Li et al. 2017; CC BY-NC-SA 4.0): a dialogue a line, every turn ended by `__eou__`."""

from collections.abc import Iterator
from pathlib import Path

from gistchat.dialogue import Dialogue, Malformed, Turn, text_lines
from gistchat.normalize import separate_sentences

PATTERNS = ("dialogues_*.txt", "dailydialog_*.txt")
END_OF_TURN = "__eou__"


def read(path: Path) -> Iterator[Dialogue | Malformed]:
    for where, line in text_lines(path):
        if isinstance(line, Malformed):
            yield line
            continue
        *texts, rest = line.split(END_OF_TURN)
        if rest.strip():
            yield Malformed(where, f"the last turn does not end in {END_OF_TURN}: a truncated line?")
            continue
        turns = tuple(Turn("AB"[i % 2], separate_sentences(text)) for i, text in enumerate(texts))
        number = where.rsplit(":", 1)[1]
        yield Dialogue(f"{path.stem}-{number}", turns, corpus="dailydialog")
