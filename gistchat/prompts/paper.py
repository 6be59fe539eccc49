"""The prompt formats of the paper's code and of its multi-turn parent, with token types (GPT-2 only)."""

from gistchat.context.types import Context
from gistchat.errors import UserError
from gistchat.progress import say_once
from gistchat.prompts.prompt import Prompt
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.prompts.tokenizer import Tokenizer
from gistchat.prompts.wording import render_gist

PAPER_TOKENS = ("<bos>", "<sp1>", "<sp2>")


class Paper(SpeakerTokens):
    """The paper's layout: `<bos><sp1>summary<sp2>user<sp1>reply<end>`, each part with its speaker as token type.

    The summary's part is there when it is empty, too; a dialogue's own preamble begins it. Verbatim turns of other
    context strategies stand between the summary and the last turn, one's own under `<sp1>`.
    """

    name = "paper"
    has_types = True

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, _paper_tokens(tokenizer))
        self.sp1, self.sp2 = self.own, self.other

    def encode(self, context: Context) -> Prompt:
        told = "\n".join(filter(None, [context.preamble or self.preamble, render_gist(context.lines)]))
        summary = [self.sp1, *self.encode_text(told)]
        return self.typed([self.bos, *summary, *self.encode_turns(context)])

    def typed(self, ids: list[int]) -> Prompt:
        """With the speaker token at or before each position as its type; for `<bos>`, the one after it.

        Texts cannot hold speaker tokens, so the ids alone tell where a part begins.
        """
        current = ids[1]
        types = []
        for token in ids:
            current = token if token in (self.sp1, self.sp2) else current
            types.append(current)
        return Prompt(ids, types)

    def gist_cost(self) -> int:
        return 0  # its speaker token is always there


def _paper_tokens(tokenizer: Tokenizer) -> tuple[str, str, str]:
    """Begin, first and second speaker; models of the paper's parent name their own, the speakers in this order."""
    extra = tokenizer.extra_special_tokens
    if not set(PAPER_TOKENS) <= tokenizer.get_vocab().keys() and len(extra) == 2 and tokenizer.bos_token:
        return tokenizer.bos_token, extra[0], extra[1]
    return PAPER_TOKENS


class PaperTurns(Paper):
    """The layout of the paper's multi-turn parent: `<bos>(<sp1>user<sp2>own)*<sp1>user<sp2>reply<end>`, no summary.

    A dialogue's own preamble is left out, and that is said.
    """

    name = "paper-turns"
    preamble = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self.own, self.other = self.sp2, self.sp1

    def encode(self, context: Context) -> Prompt:
        if context.lines or context.found:
            raise UserError(
                "the format 'paper-turns' has no place for a summary or turns that were found; use the strategies "
                "last, recent or full, or model.format = 'paper'"
            )
        if context.preamble:
            say_once("the format 'paper-turns' has no place for system messages: these dialogues' are left out")
        return self.typed([self.bos, *self.encode_turns(context)])
