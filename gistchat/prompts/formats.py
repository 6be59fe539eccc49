"""From a format's name to the format."""

from collections.abc import Sequence

from gistchat.progress import say_once
from gistchat.prompts.chat_template import ChatTemplate
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.paper import Paper, PaperTurns
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.prompts.template_probe import UnusableTemplate
from gistchat.prompts.tokenizer import Tokenizer

FORMATS = {prompt_format.name: prompt_format for prompt_format in (SpeakerTokens, ChatTemplate, Paper, PaperTurns)}


def make_format(name: str, tokenizer: Tokenizer, ends: Sequence[int] = ()) -> PromptFormat:
    """The format of that name for this tokenizer; `auto` takes the model's chat template where it can be used.

    Formats with tokens of their own add these to the tokenizer where they are missing; the model's embeddings must
    then be resized.

    Args:
        ends: tokens at which replies end, too, as the model's generation_config.json lists them.

    Raises:
        UserError: `chat-template` for a tokenizer without one, or with one that cannot be used.
    """
    prompt_format = _named(name, tokenizer)
    known = set(tokenizer.get_vocab().values()) if ends else set()
    prompt_format.stop_ids = list(dict.fromkeys([*prompt_format.stop_ids, *(i for i in ends if i in known)]))
    return prompt_format


def _named(name: str, tokenizer: Tokenizer) -> PromptFormat:
    if name != "auto":
        return FORMATS[name](tokenizer)
    if not tokenizer.chat_template:
        return SpeakerTokens(tokenizer)
    try:
        return ChatTemplate(tokenizer)
    except UnusableTemplate as error:
        say_once(f"{error.problem}, so model.format is speaker-tokens")
        return SpeakerTokens(tokenizer)
