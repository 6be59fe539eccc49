"""The prompt format of models without a chat template: gistchat's own control tokens."""

from collections.abc import Sequence

from gistchat.context.types import ASSISTANT, Context, RoleTurn
from gistchat.prompts.format import PromptFormat, add_tokens
from gistchat.prompts.prompt import Prompt
from gistchat.prompts.tokenizer import Tokenizer
from gistchat.prompts.wording import render_gist

SPECIAL_TOKENS = ("<bos>", "<sum>", "<sp1>", "<sp2>")


class SpeakerTokens(PromptFormat):
    """`<bos> [preamble] [<sum> gist] (<sp1> own turn | <sp2> other's)* [<sum> found] <sp2> last turn <sp1>`."""

    name = "speaker-tokens"

    def __init__(self, tokenizer: Tokenizer, tokens: Sequence[str] = SPECIAL_TOKENS) -> None:
        """`tokens`: begin, gist (in some formats), own turn, other's turn."""
        super().__init__(tokenizer)
        self.control_ids, self.added_ids = add_tokens(tokenizer, tokens)
        self.bos, *self.gist, self.own, self.other = self.control_ids
        self.stop_ids = [tokenizer.eos_token_id, self.own, self.other, *self.gist, self.bos]

    def encode(self, context: Context) -> Prompt:
        gist = [*self.gist, *self.encode_text(render_gist(context.lines))] if context.lines else []
        told = context.preamble or self.preamble
        preamble = self.encode_text(told) if told else []
        return Prompt([self.bos, *preamble, *gist, *self.encode_turns(context)])

    def encode_turns(self, context: Context) -> list[int]:
        """The turns behind the tokens of their speakers, and the token that asks for a reply."""
        ids: list[int] = []
        for turn in context.turns:
            ids += self._encode_turn(turn)
        if context.found:  # a format without a token for gists has them as its own turn, as it has a summary
            ids += [*(self.gist or [self.own]), *self.encode_text(render_gist(context.found))]
        return [*ids, *self._encode_turn(context.last), self.own]

    def _encode_turn(self, turn: RoleTurn) -> list[int]:
        return [self.own if turn.role == ASSISTANT else self.other, *self.encode_text(turn.text)]

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + 1

    def gist_cost(self) -> int:
        return 1

    def found_cost(self) -> int:
        return 1
