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
    if more := [id for id in dict.fromkeys(ends) if id not in prompt_format.stop_ids]:
        known = set(tokenizer.get_vocab().values())
        prompt_format.stop_ids = [*prompt_format.stop_ids, *(id for id in more if id in known)]
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
