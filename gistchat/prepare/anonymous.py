"""Person 1, Person 2 ... in place of names, as speakers and in what they say."""

import dataclasses
from collections.abc import Iterable

import regex

from gistchat.dialogue.turns import ROLES, Dialogue

LEAST = 3  # letters: shorter names are also words of many languages


class Anonymous:
    """A number for every name that speaks, in the order in which they are given, the same in all dialogues.

    In texts, the whole name and its first word count where they stand as words, in any case of letters; a name that is
    called by another form ("Annie") stays, as does who never speaks.
    """

    def __init__(self, names: Iterable[str]) -> None:
        people = [name for name in dict.fromkeys(names) if name.lower() not in ROLES]
        self.names = {name: f"Person {number}" for number, name in enumerate(people, 1)}
        self._called: dict[str, str] = {}
        for name, person in self.names.items():
            for form in (name, name.split()[0]):
                if len(form) >= LEAST:
                    self._called.setdefault(form.casefold(), person)
        forms = sorted(map(regex.escape, self._called), key=len, reverse=True)
        self._any = regex.compile(rf"(?<!\w)@?(?:{'|'.join(forms)})(?!\w)", regex.IGNORECASE) if forms else None

    def speaker(self, name: str) -> str:
        """The person for a name; roles such as "assistant" stay."""
        return self.names.get(name, name)

    def text(self, text: str) -> str:
        """A text without the names."""
        return self._any.sub(lambda match: self._called[match[0].lstrip("@").casefold()], text) if self._any else text

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
