"""Person 1, Person 2 ... in place of names, as speakers and in what they say."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import regex

from gistchat.dialogue.turns import ROLES, Dialogue

LEAST = 3  # letters: shorter names are also words of many languages, when written in small letters
# Of scripts that put no spaces between words.
UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{2,}")


class Anonymous:
    """A number for every name that speaks, in the order in which they are given, the same in all dialogues.

    In texts, the whole name and its first word count where they stand as words, in any case of letters but for those
    of two letters; a name that is called by another form ("Annie") stays, as does who never speaks.

    Args:
        renamed: names that were changed before, and to what.
    """

    def __init__(self, names: Iterable[str], renamed: Mapping[str, str] = MappingProxyType({})) -> None:
        people = [name for name in dict.fromkeys(names) if name.lower() not in ROLES]
        self.names = {name: f"Person {number}" for number, name in enumerate(people, 1)}
        self._called: dict[str, str] = {}
        old = {name: self.names[new] for name, new in renamed.items() if new in self.names}
        for name, person in (self.names | old).items():
            for form in (name, name.split()[0]):
                if len(form) > 1:
                    self._called.setdefault(form if len(form) < LEAST else form.casefold(), person)
        forms = [_pattern(form) for form in sorted(self._called, key=len, reverse=True)]
        self._any = regex.compile("|".join(forms)) if forms else None

    def speaker(self, name: str) -> str:
        """The person for a name; roles such as "assistant" stay."""
        return self.names.get(name, name)

    def text(self, text: str) -> str:
        """A text without the names."""
        return self._any.sub(lambda match: self._person(match[0].lstrip("@")), text) if self._any else text

    def _person(self, form: str) -> str:
        return self._called.get(form) or self._called[form.casefold()]

    def dialogue(self, dialogue: Dialogue) -> Dialogue:
        """A dialogue without the names, in its gold lines, its preamble and its id neither."""
        turns = tuple(
            turn._replace(speaker=self.speaker(turn.speaker), text=self.text(turn.text)) for turn in dialogue.turns
        )
        scored = dialogue.scored_speakers and tuple(map(self.speaker, dialogue.scored_speakers))
        meta = dialogue.meta
        if gold := meta.get("gold"):
            lines = [
                line | {"speaker": self.speaker(line["speaker"]), "text": self.text(line["text"])} for line in gold
            ]
            meta = meta | {"gold": lines}
        if dialogue.preamble:
            meta = meta | {"system": self.text(dialogue.preamble)}
        return dataclasses.replace(dialogue, id=self.text(dialogue.id), turns=turns, scored_speakers=scored, meta=meta)


def _pattern(form: str) -> str:
    """Where a name stands in a text."""
    if UNSPACED.fullmatch(form):
        return rf"@?{regex.escape(form)}"
    flag = "" if len(form) < LEAST else "i"
    return rf"(?<!\w)@?(?{flag}:{regex.escape(form)})(?!\w)"
