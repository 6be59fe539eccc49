"""Corpora, one reader module each. A new corpus is a new module with a `CORPUS`, and its name here.

A reader yields, for one file, its dialogues (`Dialogue`), what is wrong with it (`Malformed`: counted, or an error) and
what is no turn (`LeftOut`: counted). `blended_skill_talk.py` is a short one to start from.
"""

from gistchat.corpora import (
    blended_skill_talk,
    chat_export,
    chitchat,
    dailydialog,
    dialogsum,
    empathetic_dialogues,
    jsonl,
    msc,
    personachat,
    samsum,
    table,
    transcript,
    triples,
)

READERS = (
    chitchat,
    dailydialog,
    empathetic_dialogues,
    personachat,
    blended_skill_talk,
    msc,
    dialogsum,
    samsum,
    jsonl,
    table,
    transcript,
    chat_export,
    triples,
)
CORPORA = {reader.CORPUS.name: reader.CORPUS for reader in READERS}
