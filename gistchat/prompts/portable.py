"""Prompt formats as templates of other programs: Jinja, which GGUF files carry, and Go's, which Ollama has."""

from dataclasses import dataclass

from gistchat.context.types import ASSISTANT
from gistchat.prompts.chat_template import ChatTemplate
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.rendering import render_bounded
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.prompts.template_probe import Message, alternating
from gistchat.prompts.wording import PREAMBLE


@dataclass(frozen=True)
class Wrapping:
    """What stands around the text of every message, whoever says it; {role} is who."""

    before: str
    after: str

    def render(self, begin: str, messages: list[Message]) -> str:
        shown = [self.before.format(role=one["role"]) + one["content"] + self.after for one in messages]
        return begin + "".join(shown) + self.before.format(role=ASSISTANT)

    def ollama(self, begin: str) -> str:
        before = self.before.format(role="{{ .Role }}")
        turns = f"{{{{ range .Messages }}}}{before}{{{{ .Content }}}}{self.after}{{{{ end }}}}"
        return begin + turns + self.before.format(role=ASSISTANT)


WRAPPINGS = (
    Wrapping("<|im_start|>{role}\n", "<|im_end|>\n"),
    Wrapping("<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
)


def jinja_template(prompt_format: PromptFormat) -> str:
    """The layout of a format without token types, as chat templates are written; a system message is the gist."""
    if isinstance(prompt_format, ChatTemplate):
        return prompt_format.source
    bos, gist, own, other = _names(prompt_format)
    turns = (
        f"{{% elif message.role == 'user' %}}{{{{ {other!r} + message.content }}}}"
        f"{{% elif message.role == 'assistant' %}}{{{{ {own!r} + message.content }}}}"
    )
    refusal = "{{ raise_exception('after the first message, only those of user and assistant') }}"
    return (
        f"{{{{ {bos!r} }}}}{{% for message in messages %}}"
        f"{{% if message.role == 'system' and loop.first %}}{{{{ {gist!r} + message.content }}}}"
        f"{turns}{{% else %}}{refusal}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {own!r} }}}}{{% endif %}}"
    )


def ollama_template(prompt_format: PromptFormat) -> str:
    """The same for Ollama; empty where it is not certain that a translation shows the same."""
    if isinstance(prompt_format, SpeakerTokens):
        bos, gist, own, other = _names(prompt_format)
        turns = f'{{{{ if eq .Role "user" }}}}{other}{{{{ .Content }}}}'
        turns += f'{{{{ else if eq .Role "assistant" }}}}{own}{{{{ .Content }}}}{{{{ end }}}}'
        gist = f"{{{{ if .System }}}}{gist}{{{{ .System }}}}{{{{ end }}}}"
        return f"{bos}{gist}{{{{ range .Messages }}}}{turns}{{{{ end }}}}{own}"
    tokenizer = prompt_format.tokenizer
    for begin in ("", tokenizer.bos_token or ""):
        for wrapping in WRAPPINGS:
            if _renders_alike(prompt_format, wrapping, begin):
                return wrapping.ollama(begin)
    return ""


def system_text(prompt_format: PromptFormat) -> str:
    """The system message that a conversation without a gist has; may be empty."""
    return PREAMBLE if isinstance(prompt_format, ChatTemplate) else ""


def end_of_turn(prompt_format: PromptFormat) -> int | None:
    """The token, besides the end token, at which any program is to end a reply."""
    if isinstance(prompt_format, SpeakerTokens):
        return prompt_format.other
    first = prompt_format.stop_ids[0]
    return None if first == prompt_format.tokenizer.eos_token_id else first


def _names(prompt_format: PromptFormat) -> list[str]:
    names = {number: token for token, number in prompt_format.tokenizer.get_vocab().items()}
    return [names[number] for number in prompt_format.control_ids]


def _renders_alike(prompt_format: PromptFormat, wrapping: Wrapping, begin: str) -> bool:
    """Whether the model's own template shows conversations of some lengths as this wrapping does."""
    source = jinja_template(prompt_format)
    for count in (1, 3, 5):
        texts = [f"Text {number},\nof two lines." for number in range(count)]
        turns = [{"role": role, "content": text} for role, text in zip(alternating(count), texts, strict=True)]
        messages = [{"role": "system", "content": PREAMBLE}, *turns]
        try:
            shown = render_bounded(lambda messages=messages: _apply(prompt_format, source, messages))
        except Exception:  # a template is a program of its own, so it may fail in any way
            return False
        if shown != wrapping.render(begin, messages):
            return False
    return True


def _apply(prompt_format: PromptFormat, source: str, messages: list[Message]) -> str:
    return prompt_format.tokenizer.apply_chat_template(
        messages, chat_template=source, add_generation_prompt=True, tokenize=False
    )
