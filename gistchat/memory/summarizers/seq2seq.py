"""Summaries by an encoder-decoder that was trained for it: BART, DistilBART, PEGASUS, T5, from the hub or a folder."""

from collections.abc import Sequence
from pathlib import Path

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
from gistchat.models.base import device
from gistchat.models.hub import load_error, reachable
from gistchat.models.likelihood import length_batches

BEAMS = 4
NO_REPEAT = 3  # no run of so many tokens twice in a summary
BATCH_TOKENS = 4096
UNLIMITED = 100_000  # tokenizers without a limit of their own carry a number far above this
ASSUMED_LIMIT = 512  # of a model that names none, as T5's


class Seq2SeqWriter:
    """Greedy-length summaries with beams; lengths are in the model's own tokens."""

    def __init__(self, source: str, budget: int) -> None:
        """
        Args:
            source: hub id or folder.
            budget: tokens of a summary, at most.
        Raises:
            UserError: there is no such model, or it is none of this kind.
        """
        self.tokenizer, self.model = _load(source)
        self.prefix = _prefix(self.model)
        [prefix_tokens] = self.count([self.prefix])
        self.room = _limit(self.model, self.tokenizer) - prefix_tokens - self.tokenizer.num_special_tokens_to_add()
        self.config = GenerationConfig(
            max_new_tokens=budget,
            num_beams=BEAMS,
            no_repeat_ngram_size=NO_REPEAT,
            early_stopping=True,
            do_sample=False,
            decoder_start_token_id=_token(self.model, "decoder_start_token_id"),
            forced_bos_token_id=_token(self.model, "forced_bos_token_id"),
            bos_token_id=_token(self.model, "bos_token_id"),
            eos_token_id=_token(self.model, "eos_token_id"),
            pad_token_id=_token(self.model, "pad_token_id"),
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        encoded = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

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


def _load(source: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    folder = Path(source).expanduser()
    if source.startswith((".", "/", "~")) and not folder.is_dir():
        raise UserError(f"{source}: no such folder")
    place = reachable(str(folder) if folder.is_dir() else source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        model = AutoModelForSeq2SeqLM.from_pretrained(place, dtype=torch.float32).eval().to(device())
    except Exception as error:
        raise load_error(source, error) from None
    return tokenizer, model


def _prefix(model: PreTrainedModel) -> str:
    """What a model of several tasks wants before a text to be summarised: T5's "summarize: "."""
    tasks = getattr(model.config, "task_specific_params", None) or {}
    return (tasks.get("summarization") or {}).get("prefix") or ""


def _limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest input of the encoder in tokens."""
    limits = [getattr(model.config, name, None) for name in ("max_position_embeddings", "n_positions")]
    limits.append(tokenizer.model_max_length)
    return min([limit for limit in limits if limit and limit < UNLIMITED], default=ASSUMED_LIMIT)


def _token(model: PreTrainedModel, name: str) -> int | list[int] | None:
    return getattr(model.generation_config, name, None) or getattr(model.config, name, None)
