"""The planted-fact probe: what was told early in a dialogue is asked for late; exact match of the word."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gistchat.engines.engine import generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.evaluate.items import Condition
from gistchat.evaluate.metrics import Row
from gistchat.evaluate.predict import Subject
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.small_talk import holds
from gistchat.examples.targets import Target
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.resumable import ResumableJsonl

ANSWER_TOKENS = 16


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
                    probe_row(subject.name, condition, target, reply.text, prompt)
                    for target, reply, prompt in zip(targets, replies, prompts, strict=True)
                ]
                stored.append({"key": key, "row": row} for key, row in zip(keys[condition], rows, strict=True))
    return [stored.get(key)["row"] for condition in wanted for key in keys[condition]]


def probe_row(model: str, condition: Condition, target: Target, reply: str, prompt: str) -> Row:
    """A row of probe.jsonl, of one of `planted_questions.probe_targets`."""
    return {
        "id": target.id,
        "dialogue": target.dialogue.id,
        "model": model,
        "strategy": condition.strategy,
        "budget": condition.budget,
        "condition": str(condition),
        **target.dialogue.meta,  # distance, shared
        "question": target.dialogue.turns[-2].text,
        "answer": target.gold,
        "reply": reply,
        "right": holds(reply, target.gold),
        "shown": holds(prompt, target.gold),
    }
