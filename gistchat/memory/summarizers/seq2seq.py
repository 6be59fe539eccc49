"""Summaries by an encoder-decoder that was trained for it: BART, DistilBART, PEGASUS, T5, from the hub or a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gistchat.errors import UserError
from gistchat.memory.summarizers.abstractive import Request
from gistchat.models.base import device, read_model, require_pair
from gistchat.models.hub import fetched, load_error
from gistchat.processes import length_batches
from gistchat.prompts.token_count import token_counter

BEAMS = 4
NO_REPEAT = 3  # no run of so many tokens twice in a summary
BATCH_TOKENS = 4096
UNLIMITED = 100_000  # tokenizers without a limit of their own carry a number far above this
ASSUMED_LIMIT = 512  # of a model that names none, as T5's
# Ids that generation needs: from the model's generation configuration, or else from its own. Not `forced_eos_token_id`,
# which would end a summary that broke off as if it were whole.
TOKENS = ("decoder_start_token_id", "forced_bos_token_id", "bos_token_id", "eos_token_id", "pad_token_id")


class Seq2SeqWriter:
    """Summaries by beam search; lengths are in the model's own tokens."""

    def __init__(self, source: str, budget: int) -> None:
        """
        Args:
            source: hub id or folder.
            budget: tokens of a summary, at most.
        Raises:
            UserError: there is no such model, or it is none of this kind.
        """
        self.tokenizer, model = open_seq2seq(source)
        self.model = model.eval().to(device())
        rows = self.model.get_input_embeddings().weight.shape[0]
        require_pair(self.tokenizer, rows, source, more=["pad_token_id"])
        config, generation = self.model.config, self.model.generation_config
        self.count = token_counter(self.tokenizer)
        # What a model of several tasks wants before a text to be summarised: T5's "summarize: ".
        tasks = getattr(config, "task_specific_params", None) or {}
        self.prefix = (tasks.get("summarization") or {}).get("prefix") or ""
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")]
        limits.append(self.tokenizer.model_max_length)
        limit = min([limit for limit in limits if limit and limit < UNLIMITED], default=ASSUMED_LIMIT)
        self.room = limit - self.count([self.prefix])[0] - self.tokenizer.num_special_tokens_to_add()
        self.config = GenerationConfig(
            max_new_tokens=budget,
            min_length=0,
            min_new_tokens=0,
            length_penalty=1.0,
            num_beams=BEAMS,
            no_repeat_ngram_size=NO_REPEAT,
            early_stopping=True,
            do_sample=False,
            **_tokens(generation, config),
        )
        # `generate` takes from here whatever is None above, such as tokens that are suppressed; and news summaries have
        # at least 56 tokens (BART), which would be made up where a dialogue has been summed up before.
        self.model.generation_config = self.config

    @torch.inference_mode()
    def write(self, requests: Sequence[Request]) -> list[str]:
        texts = [self.prefix + "\n".join(filter(None, request)) for request in requests]
        encoded = [self.tokenizer(text, split_special_tokens=True)["input_ids"] for text in texts]
        written = [""] * len(texts)
        for batch in length_batches([len(ids) for ids in encoded], BATCH_TOKENS // BEAMS):
            padded = self.tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt")
            ids, mask = padded["input_ids"].to(self.model.device), padded["attention_mask"].to(self.model.device)
            output = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=self.config)
            for i, text in zip(batch, self.tokenizer.batch_decode(output, skip_special_tokens=True), strict=True):
                written[i] = text.replace("<n>", " ")  # PEGASUS's line break
        return written


def open_seq2seq(source: str, device_map: str | None = None) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Tokenizer and model of a hub id or folder; on the device "meta" without its weights, see `read_model`.

    Raises:
        UserError: there is no such model, or it is none of this kind.
    """
    folder = Path(source).expanduser()
    if source.startswith((".", "/", "~")) and not folder.is_dir():
        raise UserError(f"{source}: no such folder")
    place = fetched(str(folder) if folder.is_dir() else source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        return tokenizer, read_model(AutoModelForSeq2SeqLM, place, device_map=device_map)
    except UserError:
        raise
    except Exception as error:
        raise load_error(source, error) from None


def _tokens(*configs: Any) -> dict[str, Any]:
    """Each of `TOKENS` from the first configuration that has it; an id may be 0."""
    given = {name: [getattr(config, name, None) for config in configs] for name in TOKENS}
    return {name: next((value for value in values if value is not None), None) for name, values in given.items()}
