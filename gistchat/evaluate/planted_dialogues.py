"""Long dialogues with facts planted early: how long does a memory keep what was said once?"""

import random
from dataclasses import dataclass

from gistchat.dialogue.turns import Turn
from gistchat.dialogue.words import word_parts

DISTANCES = (10, 50, 200)  # turns after the last planted fact at which a memory is asked
FACTS = 5

# What is told | how it is asked for | the words that can stand in the gap, each of which has to be remembered.
_TELLINGS = """\
My sister {0} works as a nurse in the city hospital. | What is my sister called? | Olga Miriam Beatrice Yuki Ingrid
I grew up in {0} and moved away when I was young. | Which city did I grow up in? | Lisbon Oslo Nairobi Quito Krakow
My old dog {0} is afraid of thunder and hides. | What is my dog called? | Biscuit Rufus Pepper Waffles Otto
I was born in {0}, in the coldest winter. | In which year was I born? | 1961 1974 1983 1987 1992
I play the {0} in a small orchestra on weekends. | Which instrument do I play? | cello oboe trombone viola bassoon
I am allergic to {0}, so I always check the menu. | What am I allergic to? | peanuts shellfish celery sesame kiwi
My train leaves on platform {0} every morning. | Which platform does my train leave on? | 4 7 11 13 17
I am writing a book about {0} in my spare time. | What is my book about? | lighthouses bees glaciers tango origami
""".splitlines()
_REMARKS = (
    "The {0} was {1} again today.",
    "I spent the whole afternoon with a {0}.",
    "Somebody told me that the {0} is {1} these days.",
    "Do you think a {0} can be too {1}?",
    "We talked about the {0} at lunch and nobody agreed.",
    "I never liked a {1} {0}, to be honest.",
    "It is strange how {1} a {0} looks in the evening.",
    "Have you ever seen such a {1} {0}?",
)
# fmt: off
_THINGS = (
    "weather", "bus", "garden", "film", "kitchen", "queue", "market", "sofa", "bridge", "song", "lamp", "window",
    "sandwich", "letter", "coat", "river", "radio", "garage", "ticket", "soup", "phone", "ladder", "museum", "printer",
)
_QUALITIES = (
    "slow", "loud", "warm", "empty", "funny", "tidy", "late", "bright", "heavy", "quiet", "cheap", "busy", "odd",
)
# fmt: on
_ANSWERS = ("Oh really?", "I see.", "Haha, yes.", "Ok.", "Good to know.", "That makes sense.", "Sure.")


@dataclass(frozen=True)
class Planted:
    """A dialogue that begins with facts, how each is asked for, and the word that shows that it is remembered."""

    turns: tuple[Turn, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def planted(self) -> int:
        """Turns up to the last fact."""
        return 2 * len(self.answers)


def planted_dialogue(number: int, turns_after: int = max(DISTANCES)) -> Planted:
    """The dialogue of that number: facts in the user's first turns, small talk from then on."""
    rng = random.Random(f"planted {number}")
    facts = [line.split(" | ") for line in rng.sample(_TELLINGS, FACTS)]
    told = [(telling, question, rng.choice(words.split())) for telling, question, words in facts]
    turns: list[Turn] = []
    for telling, _, word in told:
        turns += [Turn("user", telling.format(word)), Turn("model", rng.choice(_ANSWERS))]
    while len(turns) < 2 * FACTS + turns_after:
        turns += [Turn("user", _remark(rng)), Turn("model", f"{rng.choice(_ANSWERS)} {_remark(rng)}")]
    _, questions, answers = zip(*told, strict=True)
    return Planted(tuple(turns), questions, answers)


def _remark(rng: random.Random) -> str:
    return rng.choice(_REMARKS).format(rng.choice(_THINGS), rng.choice(_QUALITIES))


def remembered(answers: tuple[str, ...], text: str) -> int:
    """How many of the answers stand in a text, as words of their own."""
    words = word_parts(text)
    return sum(answer.lower() in words for answer in answers)
