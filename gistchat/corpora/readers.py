"""The table of corpora. A new corpus is a new reader module beside this one, with a `CORPUS`, and its name here.

A reader yields, for one file, its dialogues (`Dialogue`), what is wrong with it (`Malformed`: counted, or an error) and
what is no turn (`LeftOut`: counted). `blended_skill_talk.py` is a short one to start from.
"""

import importlib

CORPORA_OF_OTHERS = (
    "chitchat", "dailydialog", "empathetic_dialogues", "personachat", "blended_skill_talk", "msc", "dialogsum",
    "samsum", "triples",
)  # fmt: skip
# Of these the first that a file looks like is taken, so what many files look like comes last.
YOURS = (
    "jsonl", "telegram", "discord", "facebook", "slack", "signal_desktop", "signal", "imessage", "kakaotalk", "line",
    "whatsapp", "chatgpt", "claude", "sillytavern", "characterai", "koboldcpp", "gemini", "preferences", "chat_export",
    "table", "transcript",
)  # fmt: skip
_MODULES = [importlib.import_module(f"gistchat.corpora.{reader}") for reader in CORPORA_OF_OTHERS + YOURS]
CORPORA = {module.CORPUS.name: module.CORPUS for module in _MODULES}
