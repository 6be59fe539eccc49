"""What a model keeps of the tokens that it has read: keys and values, or a state that each token changes."""

from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer


def empty_cache(model: PreTrainedModel) -> Cache:
    """A cache with the layers that the model's configuration asks for.

    Layers that attend to a window of tokens keep all others, too, so that the end can be cut off; the attention mask
    leaves out what is too old.
    """
    cache = DynamicCache(config=model.config)
    cache.layers = [DynamicLayer() if type(layer) is DynamicSlidingWindowLayer else layer for layer in cache.layers]
    return cache


def is_divisible(cache: Cache) -> bool:
    """Whether a cache can be cut anywhere, and read on from there.

    Not where there is a recurrent state: it has no parts, and some models forget it when they read more than a token.
    """
    return all(isinstance(layer, (DynamicLayer, DummyLayer)) and layer.is_croppable for layer in cache.layers)
