"""Replies for a file of dialogues: what a chat would answer to the last turn of each."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from gistchat.chat.session import ChatSession
from gistchat.chat.session_file import require_free
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Dialogue
from gistchat.engines.engine import generate_replies
from gistchat.errors import UserError
from gistchat.files import atomic_text, fingerprint
from gistchat.locks import locked_by_first
from gistchat.memory.factory import summary_settings
from gistchat.processes import batched
from gistchat.progress import progress, say
from gistchat.resumable import ResumableJsonl

Chunk = list[tuple[int, Dialogue]]  # dialogues with their numbers in the file
AT_ONCE = 16  # dialogues that are answered together, whatever the number of processes and stops


def reply_to_file(session: ChatSession, source: Path, out: Path, force: bool = False) -> int:
    """Answer every dialogue of a JSONL file; returns how many there are.

    Each line of `out` has the id, the reply, its tokens and mean log-likelihood, and the prompt's tokens. What is
    finished stands in `out`.part-N until all is: the same command goes on from there. Started by torchrun, each
    process takes its share.

    Raises:
        UserError: a malformed line (nothing is written), no dialogue, an id twice, an `out` that exists, or another
            command that writes to it.
    """
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file")
    require_free(out, out if force else None, ", or --force to write it anew")
    dialogues = _read(source)
    with locked_by_first(out):
        require_free(out, out if force else None, ", or --force to write it anew")  # another command may have ended
        _reply_to_all(session, dialogues, out)
    return len(dialogues)


def _reply_to_all(session: ChatSession, dialogues: Sequence[Dialogue], out: Path) -> None:
    """This process's share of the replies; the first process puts them all together."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    meet = _meeting() if world > 1 else lambda: None
    key = _key(session, dialogues)
    done = _finished(out, key)
    if done and rank == 0:
        say(f"{len(done):,} of {len(dialogues):,} replies are there already")
    share = list(batched(enumerate(dialogues), AT_ONCE))[rank::world]
    left = [chunk for chunk in share if not all(number in done for number, _ in chunk)]
    meet()  # nobody writes before all have read what is there
    title = f"reply ({rank + 1} of {world})" if world > 1 else "reply"
    total = sum(map(len, share))
    with progress(title, total, total - sum(map(len, left))) as advance:
        stored = ResumableJsonl(out.with_name(f"{out.name}.part-{key}-{rank}"))
        for rows in _answer(session, left):
            stored.append(rows)
            advance(len(rows))
    meet()
    if rank == 0:
        _put_together(out, key, len(dialogues))


def _meeting() -> Callable[[], None]:
    """What waits until all processes of torchrun have come as far."""
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.barrier


def _read(source: Path) -> list[Dialogue]:
    if not (dialogues := load_dialogues(source)):
        raise UserError(f"{source}: no dialogue in it")
    name, count = Counter(dialogue.id for dialogue in dialogues).most_common(1)[0]
    if count > 1:
        raise UserError(f"{source}: the id {name!r} is there twice; replies could not be told apart")
    for dialogue in dialogues:
        if silent := [number for number, turn in enumerate(dialogue.turns, 1) if not clean_text(turn.text)]:
            raise UserError(f"{source}: turn {silent[0]} of dialogue {dialogue.id!r} has no text")
    return dialogues


def _key(session: ChatSession, dialogues: Sequence[Dialogue]) -> str:
    """Equal where the same dialogues are answered by the same weights and settings."""
    recipe = session.recipe
    sections = [vars(recipe.chat), vars(recipe.context), summary_settings(recipe.summary), vars(recipe.memory)]
    settings = [*sections, session.seed]
    texts = [[dialogue.id, dialogue.content_hash] for dialogue in dialogues]
    return fingerprint([session.model.identity, settings, texts])


def _finished(out: Path, key: str) -> dict[int, ResumableJsonl]:
    """By a dialogue's number, the file that its row is in; any number of processes may have written one."""
    paths = sorted(out.parent.glob(f"{glob.escape(out.name)}.part-{key}-*"))
    return {int(number): stored for stored in map(ResumableJsonl, paths) for number in stored}


def _answer(session: ChatSession, chunks: Sequence[Chunk]) -> Iterator[list[dict[str, Any]]]:
    for chunk in chunks:
        asked = [(number, dialogue, session.context_of(dialogue.turns), session.notice) for number, dialogue in chunk]
        # Seeds come from a dialogue's place in the file, so that no reply depends on where a run was stopped.
        numbers, _, contexts, _ = zip(*asked, strict=True)
        replies = generate_replies(session.engine, contexts, session.sampling(), rows=numbers)
        yield [
            {
                "key": str(number),
                "id": dialogue.id,
                "reply": reply.text,
                "tokens": reply.tokens,
                "log_likelihood": round(reply.likelihood, 4) if session.engine.knows_likelihood else None,
                "ended": reply.ended,
                "prompt_tokens": session.engine.count_tokens(context),
                **({"notice": notice} if notice else {}),
            }
            for (number, dialogue, context, notice), reply in zip(asked, replies, strict=True)
        ]


def _put_together(out: Path, key: str, count: int) -> None:
    stored, empty = _finished(out, key), 0
    if missing := [number for number in range(count) if number not in stored]:
        raise UserError(f"{out}: {len(missing)} of {count} replies are missing; the same command makes them")
    with atomic_text(out) as file:
        for number in range(count):
            row = stored[number].get(str(number))
            del row["key"]
            empty += not row["reply"]
            file.write(orjson.dumps(row).decode() + "\n")
    for part in set(stored.values()):
        part.path.unlink()
        part.lock_path.unlink(missing_ok=True)
    if empty:
        say(f"empty replies: {empty} of {count}")
