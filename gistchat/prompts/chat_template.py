"""The prompt format of instruct models: their own chat template."""

import jinja2
from transformers import PreTrainedTokenizerBase

from gistchat.context.types import ASSISTANT, USER, Context, RoleTurn
from gistchat.errors import UserError
from gistchat.prompts.format import PromptFormat, render_gist
from gistchat.prompts.prompt import Prompt

PREAMBLE = "You are a friendly person in a casual chat. Answer the user in one or two short sentences."
GIST_HEADER = "\nEarlier in this chat:\n"


def marks_roles(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template shows who speaks. DialoGPT's does not: it puts the end token after each text."""

    def render(role: str) -> str:
        return tokenizer.apply_chat_template([{"role": role, "content": "x"}], tokenize=False)

    try:
        return render(USER) != render(ASSISTANT)
    except jinja2.TemplateError:
        return True  # a template that insists on who comes first does mark roles


class ChatTemplate(PromptFormat):
    """The instruct model's own template: the gist in the system message, turns as user and assistant messages."""

    name = "chat-template"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        if not tokenizer.chat_template:
            raise UserError("this tokenizer has no chat template; use model.format = 'speaker-tokens'")
        if not marks_roles(tokenizer):
            raise UserError("this chat template does not mark who speaks; use model.format = 'speaker-tokens'")
        short = [{"role": "system", "content": PREAMBLE}, {"role": USER, "content": "x"}]
        answer = {"role": ASSISTANT, "content": "x"}
        try:
            prompt = self._render(short, True)
            self._render([short[0], answer, short[1]], True)  # the latest turns may begin with the model's own
        except jinja2.TemplateError as error:
            raise UserError(
                "this chat template wants no system message, or the user's turn first "
                f"({error}); use model.format = 'speaker-tokens'"
            ) from None
        closed = self._render([*short, answer], False)[len(prompt) :]
        special = set(tokenizer.all_special_ids)
        end = next((i for i in closed if i in special), tokenizer.eos_token_id)
        # Whatever begins or ends a message ends a reply, too: a model that goes on with another message has answered.
        self.stop_ids = list(dict.fromkeys([end, tokenizer.eos_token_id, *(i for i in prompt if i in special)]))
        # What a message costs beyond its text, measured between messages that follow each other.
        asked, answered, asked_again = (len(self._render([*short, answer, short[1]][:n], False)) for n in (2, 3, 4))
        text = self._count("x")
        self._wrapping = {ASSISTANT: answered - asked - text, USER: asked_again - answered - text}
        self._gist_extra = self._count(GIST_HEADER)

    def _render(self, messages: list[dict[str, str]], ask: bool) -> list[int]:
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=ask, sanitize_control_tokens=True, return_dict=False
        )

    def encode(self, context: Context) -> Prompt:
        gist = GIST_HEADER + render_gist(context.lines) if context.lines else ""
        messages = [{"role": "system", "content": PREAMBLE + gist}]
        messages += [{"role": turn.role, "content": turn.text} for turn in (*context.turns, context.last)]
        return Prompt(self._render(messages, True))

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + self._wrapping[turn.role]

    def gist_cost(self) -> int:
        return self._gist_extra
