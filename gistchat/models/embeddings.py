"""New rows of the embedding for tokens that a prompt format adds."""

import torch
from transformers import PreTrainedModel


def fit_embeddings(model: PreTrainedModel, vocabulary: int) -> list[int]:
    """Give the model a row for every token; returns the ids of the new rows.

    New rows start at the mean of the old ones plus noise of their spread: left at the mean alone they would start
    (and, with few steps, stay) almost identical. The noise has a seed of its own, so a LoRA checkpoint finds the
    same base rows again.
    """
    old = model.get_input_embeddings().weight.shape[0]
    if vocabulary <= old:
        return []
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
        weight = model.get_input_embeddings().weight
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            mean, spread = weight[:old].mean(0), weight[:old].std(0)
            noise = torch.randn((vocabulary - old, weight.shape[1]), generator=generator)
            weight[old:] = mean + spread * noise.to(weight)
    return list(range(old, vocabulary))
