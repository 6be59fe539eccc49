"""Who is who in a chat: turns of anybody as those of a person, or of a group, and the model."""

from collections.abc import Sequence

from gistchat.dialogue.text_repair import clean_line, clean_text
from gistchat.dialogue.turns import Turn, is_group

PERSON, BOT = "user", "model"  # the speakers of a session, also in saved files


def as_chat(turns: Sequence[Turn]) -> tuple[list[Turn], str]:
    """Turns of anybody, `cleaned`, by PERSON and BOT or, in a group, by name; and as whom the model answers.

    The model answers as the speaker "model" where there is one; else as the last who spoke before the one who is
    answered.
    """
    turns = cleaned(turns)
    asking = turns[-1].speaker
    others = [turn.speaker for turn in turns if turn.speaker != asking]
    if is_group(turns):
        return turns, BOT if BOT in others else others[-1]
    return [turn._replace(speaker=PERSON if turn.speaker == asking else BOT) for turn in turns], BOT


def cleaned(turns: Sequence[Turn]) -> list[Turn]:
    """Turns of a file with names and texts repaired, as `gistchat prepare` does it."""
    return [turn._replace(speaker=clean_line(turn.speaker), text=clean_text(turn.text)) for turn in turns]
