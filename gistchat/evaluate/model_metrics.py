"""BERTScore and MAUVE of replies, by a model that the user names."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModel,
    AutoTokenizer,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaTokenizer,
)

from gistchat.dialogue.visible import has_text
from gistchat.dialogue.words import nfc
from gistchat.errors import UserError, require
from gistchat.evaluate.analysis import Row, by_system
from gistchat.hub import split_revision
from gistchat.models.base import device, load_tokenizer, model_limit, read_model
from gistchat.models.hub import OFFLINE_HINT, fetched, load_error
from gistchat.models.resolve import resolve_base
from gistchat.progress import say
from gistchat.recipe.schema import EvaluateConfig, ModelConfig

FEWEST = 100  # replies for MAUVE: it makes a cluster of every ten, and its histograms need several
BATCH = 32
HINT = "check the network, or give a local folder"


def check_models(bertscore_model: str, mauve_model: str, replies: int) -> None:
    """Find out before any reply is made what would hinder its scores; an empty name asks for no score.

    Raises:
        UserError: a package is missing, a model or its tokenizer cannot be had, or there are too few replies.
    """
    if bertscore_model:
        require("bert_score", "judges")
        _read_encoder(bertscore_model, _word_tokenizer(bertscore_model), "meta")
    if mauve_model:
        require("mauve", "judges")
        _check_number(replies)
        _read_encoder(mauve_model, _tokenizer(mauve_model), "meta")


def bertscores(replies: Sequence[str], golds: Sequence[str], model: str) -> list[float]:
    """BERTScore F1 of each reply in percent (Zhang et al. 2020), by `bert-score`; an empty reply scores 0.

    Not rescaled with a baseline and without weights by rarity: unrelated texts score far above 0, so that a value means
    something only beside others by the same model. The layer is the one that the authors found best for a model of this
    name; for a name that they do not know, the one at three quarters of the depth, where they mostly found it.

    Args:
        model: hub id or local folder of an encoder, such as roberta-large.
    """
    # Not by its `BERTScorer`, which loads tokenizer and weights itself: it fails where a folder's tokenizer names no
    # longest text, reads the first word as another one than within a text, and keeps 16-bit weights.
    library = require("bert_score", "judges").utils
    tokenizer = _word_tokenizer(model)
    encoder = _encoder(model, tokenizer)
    layer = _best_layer(model, encoder.config.num_hidden_layers, library.model2layers)
    # The library takes the encoder's first output for what it scores.
    encoder.register_forward_pre_hook(lambda _, x, more: (x, more | {"output_hidden_states": True}), with_kwargs=True)
    encoder.register_forward_hook(lambda _, x, output: (output.hidden_states[layer],))
    weights = defaultdict(lambda: 1.0, {tokenizer.cls_token_id: 0.0, tokenizer.sep_token_id: 0.0})
    said = [i for i, pair in enumerate(zip(replies, golds, strict=True)) if all(map(has_text, pair))]
    scores = [0.0] * len(replies)
    if said:
        texts = [golds[i] for i in said], [replies[i] for i in said]
        triples = library.bert_cos_score_idf(encoder, *texts, tokenizer, weights, batch_size=BATCH, device=device())
        for i, f1 in zip(said, triples[:, 2].tolist(), strict=True):
            scores[i] = 100 * f1
    return scores


def _best_layer(model: str, layers: int, tuned: Mapping[str, int]) -> int:
    """By the last part of the name, also that of a folder, or of the hub's cache folder above it."""
    model = model if Path(model).is_dir() else split_revision(model)[0]
    cached = [part for part in Path(model).parts if part.startswith("models--")]
    name = cached[-1].split("--")[-1] if cached else Path(model).name
    best = {key.split("/")[-1]: layer for key, layer in tuned.items()}.get(name)
    return best if best and best <= layers else max(1, round(0.75 * layers))


def mauves(systems: Mapping[Any, tuple[Sequence[str], Sequence[str]]], model: str, seed: int) -> dict[Any, float]:
    """MAUVE in percent (Pillutla et al. 2021) of each system's replies and gold ones, by `mauve-text`.

    It compares the two as sets, with the library's defaults. An empty reply counts, as the end token alone; the library
    would leave it out. Fewer replies give higher values, so compare systems with the same number. The paper takes
    5,000 texts.

    Args:
        systems: the replies and the gold replies of each.
        model: hub id or local folder of a language model, such as gpt2-large.

    Raises:
        UserError: a system with fewer than `FEWEST` replies.
    """
    library = require("mauve", "judges")
    for replies, _ in systems.values():
        _check_number(len(replies))
    tokenizer = _tokenizer(model)
    texts = {text for replies, golds in systems.values() for text in (*replies, *golds)}
    states = _last_states(sorted(texts, key=lambda text: (len(text), text)), tokenizer, _encoder(model, tokenizer))

    def score(*sides: Sequence[str]) -> float:
        features = (np.stack([states[text] for text in sorted(side)]) for side in sides)
        with _closed_stderr():
            return 100 * float(library.compute_mauve(*features, seed=seed).mauve)

    return {key: score(golds, replies) for key, (replies, golds) in systems.items()}


def _check_number(replies: int) -> None:
    if replies < FEWEST:
        raise UserError(
            f"evaluate.mauve_model: {replies} replies are too few for MAUVE, which needs {FEWEST}; raise "
            "evaluate.items and evaluate.reply_items, or leave the model out"
        )


@torch.inference_mode()
def _last_states(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel
) -> dict[str, np.ndarray]:
    """What the model makes of each text's last token."""
    last = {}
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        ids = [tokenizer(text, truncation=True)["input_ids"] or [tokenizer.eos_token_id or 0] for text in batch]
        lengths = torch.tensor([len(item) for item in ids])
        padded = pad_sequence([torch.tensor(item) for item in ids], batch_first=True)
        mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
        states = encoder(padded.to(device()), attention_mask=mask.to(device())).last_hidden_state
        last |= zip(batch, states[torch.arange(len(batch)), lengths - 1].cpu().numpy(), strict=True)
    return last


def _word_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """A tokenizer to which the first word of a text is the same as within it, where `bert-score` wants it so."""
    tokenizer = _tokenizer(model)
    if tokenizer.pad_token_id is None:
        raise UserError(f"{model}: no padding token, so not for BERTScore; name an encoder such as roberta-large")
    if isinstance(tokenizer, GPT2Tokenizer | RobertaTokenizer):
        # bert-score asks for it with each text, where transformers 5 ignores it.
        return AutoTokenizer.from_pretrained(_folder(model, False), add_prefix_space=True, trust_remote_code=False)
    return tokenizer


def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer = load_tokenizer(resolve_base(ModelConfig(name=model), seed=0))
    except UserError as error:
        raise _with_own_hint(error) from None
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise UserError(f"{model}: no tokenizer in this folder (tokenizer.json, or vocab.txt)")
    return tokenizer


def _folder(model: str, weights: bool) -> str:
    base = resolve_base(ModelConfig(name=model), seed=0)
    return fetched(base.source, base.commit, weights)


def _encoder(model: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model without a head, in 32-bit floats; its tokenizer is made to cut texts to the model's length."""
    encoder = _read_encoder(model, tokenizer).eval().to(device())
    positions = model_limit(encoder.config) - 2  # RoBERTa counts its positions from 2
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return encoder.get_encoder() if encoder.config.is_encoder_decoder else encoder


def _read_encoder(model: str, tokenizer: PreTrainedTokenizerBase, device_map: str | None = None) -> PreTrainedModel:
    try:
        return read_model(AutoModel, _folder(model, True), "pooler.", device_map=device_map)
    except UserError as error:
        raise _with_own_hint(error) from None
    except Exception as error:
        # Damaged files and the hub's client raise types of their own.
        raise _with_own_hint(load_error(model, error)) from None


def _with_own_hint(error: UserError) -> UserError:
    """What helps with a base model does not help here."""
    return UserError(str(error).replace(OFFLINE_HINT, HINT))


@contextlib.contextmanager
def _closed_stderr() -> Iterator[None]:
    """Without faiss's warning of clusters that are small, as they always are in MAUVE; it comes from C++."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def score_by_models(config: EvaluateConfig, rows: Sequence[Row], seed: int) -> list[Row]:
    """BERTScore into each row with a reply; MAUVE of each system with enough replies. Both where models are named.

    Returns:
        MAUVE: the fields of a `System`, `value` in percent and `replies`, their number.
    """
    answered = [row for row in rows if row.get("reply") is not None]
    if config.bertscore_model:
        say(f"evaluate: BERTScore of {len(answered):,} replies by {config.bertscore_model}")
        replies, golds = ([nfc(row[name]) for row in answered] for name in ("reply", "gold"))
        for row, score in zip(answered, bertscores(replies, golds, config.bertscore_model), strict=True):
            row["bertscore"] = score
    if not config.mauve_model:
        return []
    say(f"evaluate: MAUVE by {config.mauve_model}")
    systems = {
        system: tuple([nfc(row[name]) for row in system_rows] for name in ("reply", "gold"))
        for system, system_rows in by_system(answered).items()
    }
    for system in [system for system, (replies, _) in systems.items() if len(replies) < FEWEST]:
        # The base model may have fewer: evaluate.base_items.
        replies, _ = systems.pop(system)
        say(f"MAUVE: left out {system.model} {system.strategy}, as {len(replies)} replies are fewer than {FEWEST}")
    values = mauves(systems, config.mauve_model, seed)
    return [
        {**system._asdict(), "value": value, "replies": len(systems[system][0])} for system, value in values.items()
    ]
