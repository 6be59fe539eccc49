"""The words around a conversation, the same in every prompt, whoever reads it."""

from collections.abc import Sequence

from gistchat.context.types import ASSISTANT, USER, GistLine

PREAMBLE = "You are a friendly person in a casual chat. Answer the user in one or two short sentences."
GIST_HEADER = "\nEarlier in this chat:\n"
# Around what was found, in the message that is answered.
FOUND_HEADER = "Earlier:\n"
FOUND_END = "\n\n"
LABELS = {USER: "User: ", ASSISTANT: "You: ", "": ""}


def render_line(line: GistLine) -> str:
    """A line of the gist as the model reads it."""
    date = f"[{line.date}] " if line.date else ""
    return date + (f"{line.name}: " if line.name else LABELS[line.role]) + line.text


def render_gist(lines: Sequence[GistLine]) -> str:
    return "\n".join(render_line(line) for line in lines)


def opening(lines: Sequence[GistLine], preamble: str = PREAMBLE) -> str:
    """What stands before the turns of an instruct model's prompt: the preamble, and the gist under its heading."""
    return preamble + (GIST_HEADER + render_gist(lines) if lines else "")


def asked(found: Sequence[GistLine], text: str) -> str:
    """The last message of an instruct model's prompt: what was found, and the turn that is answered."""
    return FOUND_HEADER + render_gist(found) + FOUND_END + text if found else text
