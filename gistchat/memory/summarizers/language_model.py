"""Summaries by a language model with a chat template that runs here."""

from collections.abc import Sequence

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from gistchat.errors import UserError
from gistchat.memory.summarizers.abstractive import LEAST_ROOM, Request
from gistchat.memory.summarizers.summary_prompt import SummaryPrompt
from gistchat.models.base import load_model, load_tokenizer, model_limit, require_causal
from gistchat.models.generation import as_ids
from gistchat.models.resolve import resolve_base
from gistchat.processes import length_batches
from gistchat.prompts.formats import make_format
from gistchat.prompts.rendering import fault_of, render_bounded
from gistchat.prompts.template_probe import UnusableTemplate
from gistchat.prompts.thoughts import Decoder
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import ModelConfig

BATCH_TOKENS = 4096
REPETITION_PENALTY = 1.1  # small models repeat themselves without it


class LocalWriter:
    """Greedy summaries by a causal model with a chat template: the packaged one, a hub id or a folder."""

    def __init__(self, source: str, budget: int, prompt: str) -> None:
        """Raises UserError: no such model, one without a chat template, or a prompt that cannot be used."""
        base = resolve_base(ModelConfig(name=source), 0)
        require_causal(base)
        self.tokenizer = load_tokenizer(base)
        if not self.tokenizer.chat_template:
            raise UserError(f"{source}: no chat template, so it takes no instructions; give a chat model")
        self.model = load_model(base)
        self.template, self.ends = _template_and_ends(self.tokenizer, as_ids(self.model.generation_config.eos_token_id))
        self.decode = Decoder(self.tokenizer)
        self.count = token_counter(self.tokenizer)
        self.budget, self.prompt = budget, SummaryPrompt(prompt, budget)
        limit, own = model_limit(self.model.config), len(self._ids(Request("", "")))
        self.room = limit - budget - own
        if self.room < LEAST_ROOM:
            raise UserError(f"{source}: reads {limit:,} tokens, too few for a prompt of {own:,}, lines and a summary")

    def write(self, requests: Sequence[Request]) -> list[str]:
        prompts = [self._ids(request) for request in requests]
        written = [""] * len(prompts)
        for batch in length_batches([len(ids) + self.budget for ids in prompts], BATCH_TOKENS):
            for i, ids in zip(batch, self._continue([prompts[i] for i in batch]), strict=True):
                end = next((place for place, token in enumerate(ids) if token in self.ends), len(ids))
                written[i] = self.decode(ids[:end]).strip()
        return written

    @torch.inference_mode()
    def _continue(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """What the model adds to each prompt of a batch."""
        longest, pad = max(map(len, prompts)), self.ends[0]
        empty = [longest - len(prompt) for prompt in prompts]
        ids = torch.tensor([[pad] * count + prompt for count, prompt in zip(empty, prompts, strict=True)])
        mask = (torch.arange(longest) >= torch.tensor(empty)[:, None]).long()
        config = GenerationConfig(
            max_new_tokens=self.budget,
            do_sample=False,
            repetition_penalty=REPETITION_PENALTY,
            eos_token_id=self.ends,
            pad_token_id=pad,
        )
        device = self.model.device
        output = self.model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config)
        return output[:, longest:].tolist()

    def _ids(self, request: Request) -> list[int]:
        messages = [{"role": "user", "content": self.prompt.fill(request)}]
        try:
            return render_bounded(
                lambda: self.tokenizer.apply_chat_template(
                    messages,
                    chat_template=self.template,
                    add_generation_prompt=True,
                    sanitize_control_tokens=True,
                    return_dict=False,
                )
            )
        except Exception as error:  # the template may fail in any way
            name = self.tokenizer.name_or_path
            raise UserError(f"{name}: the chat template takes no user message alone ({fault_of(error)})") from None


def _template_and_ends(tokenizer: PreTrainedTokenizerBase, listed: Sequence[int]) -> tuple[str | None, list[int]]:
    """The template as chats use it, and where a summary ends; the tokenizer's own where a chat could not use it.

    Raises:
        UserError: no end token.
    """
    try:
        prompt_format = make_format("chat-template", tokenizer, listed)
    except UnusableTemplate:  # a summary takes one message alone
        ends = [end for end in (tokenizer.eos_token_id, *listed) if end is not None]
        if not ends:
            raise UserError(f"{tokenizer.name_or_path}: no end token, so summaries could not end") from None
        return None, ends
    return prompt_format.source, prompt_format.stop_ids
