"""From a format's name to the format."""

from transformers import PreTrainedTokenizerBase

from gistchat.prompts.chat_template import ChatTemplate, marks_roles
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.paper import Paper, PaperTurns
from gistchat.prompts.speaker_tokens import SpeakerTokens

FORMATS = {prompt_format.name: prompt_format for prompt_format in (SpeakerTokens, ChatTemplate, Paper, PaperTurns)}


def make_format(name: str, tokenizer: PreTrainedTokenizerBase) -> PromptFormat:
    """The format of that name for this tokenizer; `auto` takes the model's chat template where it marks roles.

    Formats with tokens of their own add these to the tokenizer where they are missing; the model's embeddings must
    then be resized.

    Raises:
        UserError: `chat-template` for a tokenizer without one, or with one that marks no roles.
    """
    if name == "auto":
        name = "chat-template" if tokenizer.chat_template and marks_roles(tokenizer) else "speaker-tokens"
    return FORMATS[name](tokenizer)
