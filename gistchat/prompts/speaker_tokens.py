"""The prompt format of models without a chat template: gistchat's own control tokens."""

from transformers import PreTrainedTokenizerBase

from gistchat.context.types import ASSISTANT, Context, RoleTurn
from gistchat.prompts.format import PromptFormat, add_tokens, render_gist
from gistchat.prompts.prompt import Prompt

SPECIAL_TOKENS = ("<bos>", "<sum>", "<sp1>", "<sp2>")


class SpeakerTokens(PromptFormat):
    """`<bos> [<sum> gist] (<sp1> own turn | <sp2> other's turn)* <sp2> last turn <sp1>`, where there is no template."""

    name = "speaker-tokens"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self.bos, self.sum, self.own, self.other = add_tokens(tokenizer, SPECIAL_TOKENS)
        self.stop_ids = [tokenizer.eos_token_id, self.own, self.other, self.sum, self.bos]

    def encode(self, context: Context) -> Prompt:
        ids = [self.bos]
        if context.lines:
            ids += [self.sum, *self.encode_text(render_gist(context.lines))]
        for turn in (*context.turns, context.last):
            ids += [self.own if turn.role == ASSISTANT else self.other, *self.encode_text(turn.text)]
        return Prompt([*ids, self.own])

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + 1

    def gist_cost(self) -> int:
        return 1
