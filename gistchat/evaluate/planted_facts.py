"""The planted-fact probe: what was told early in a generated dialogue is asked for late; exact match of the word."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.engines.engine import generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.evaluate.items import Condition
from gistchat.evaluate.metrics import Row
from gistchat.evaluate.planted_dialogues import planted_dialogue, remembered
from gistchat.evaluate.predict import Subject
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import Target
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.resumable import ResumableJsonl

PROBE_DISTANCES = (0, 10, 40)  # turns of small talk between the last fact and the question; the dialogues take turns
ANSWER_TOKENS = 16


def probe_targets(number: int, seed: int = 0) -> list[Target]:
    """So many dialogues that end with a question for one of their facts; its gold reply is the word asked for.

    Each seed has dialogues of its own.
    """
    targets = []
    for i in range(number):
        name = seed * number + i
        planted = planted_dialogue(name, PROBE_DISTANCES[i % len(PROBE_DISTANCES)])
        fact = i % len(planted.answers)
        asked = Turn("user", planted.questions[fact]), Turn("model", planted.answers[fact])
        targets.append(Target(Dialogue(f"planted-{name}", (*planted.turns, *asked), "planted"), len(planted.turns) + 1))
    return targets


def probe(
    subject: Subject,
    prompt_format: PromptFormat,
    targets: Sequence[Target],
    wanted: Sequence[Condition],
    builders: Mapping[int, ExampleBuilder],
    batch_tokens: int,
    folder: Path,
) -> list[Row]:
    """Greedy answers to every question under every condition; what an earlier run left in `folder` is read back.

    Returns:
        Rows with `right`: whether the word asked for stands in the answer; `shown`: whether it stood in the prompt.
    """
    stored = ResumableJsonl(folder / f"{subject.name}-probe.jsonl")
    keys = {condition: [f"{condition} {target.id}" for target in targets] for condition in wanted}
    new = [condition for condition in wanted if not all(key in stored for key in keys[condition])]
    if not new:
        say(f"probe {subject.name}: done before, skipped")
    else:
        engine = TorchEngine(subject.load(), prompt_format)
        with progress(f"probe {subject.name}", len(new) * len(targets)) as advance:
            for condition in new:
                builder = builders.get(condition.budget, next(iter(builders.values())))
                examples = [builder.build(target, condition.strategy) for target in targets]
                contexts = [example.context for example in examples]
                replies = generate_replies(engine, contexts, Sampling(max_tokens=ANSWER_TOKENS), batch_tokens, advance)
                prompts = [prompt_format.tokenizer.decode(example.prompt.ids) for example in examples]
                rows = [
                    probe_row(subject.name, condition, i, targets[i], reply.text, prompt)
                    for i, (reply, prompt) in enumerate(zip(replies, prompts, strict=True))
                ]
                stored.append({"key": key, "row": row} for key, row in zip(keys[condition], rows, strict=True))
    return [stored.get(key)["row"] for condition in wanted for key in keys[condition]]


def probe_row(model: str, condition: Condition, number: int, target: Target, reply: str, prompt: str) -> Row:
    """A row of probe.jsonl; `number`: which of the dialogues it is."""
    return {
        "id": target.id,
        "dialogue": target.dialogue.id,
        "model": model,
        "strategy": condition.strategy,
        "budget": condition.budget,
        "condition": str(condition),
        "distance": PROBE_DISTANCES[number % len(PROBE_DISTANCES)],
        "question": target.dialogue.turns[-2].text,
        "answer": target.gold,
        "reply": reply,
        "right": bool(remembered((target.gold,), reply)),
        "shown": bool(remembered((target.gold,), prompt)),
    }
