"""The likelihood of replies: batches with the replies at the right edge, logits only where there is a label."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from gistchat.examples import Example

IGNORED = -100  # torch's label of positions without a loss


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Left-padded batch: input_ids, attention_mask, position_ids and labels, each of shape (examples, longest).

    Padding is on the left so that all replies end at the right edge, where `reply_loss` asks for logits; positions
    are explicit because a raw forward pass counts padding as text.
    """
    longest = max(len(example) for example in examples)
    ids = torch.full((len(examples), longest), pad_id)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for row, example in enumerate(examples):
        start = longest - len(example)
        ids[row, start:] = torch.tensor(example.prompt + example.reply)
        mask[row, start:] = 1
        labels[row, longest - len(example.reply) :] = torch.tensor(example.reply)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "labels": labels}


def reply_loss(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood in nats of every labelled token, zero elsewhere; shape (examples, longest reply)."""
    labels = batch["labels"]
    width = labels.shape[1]
    longest_reply = int((labels != IGNORED).any(0).sum())
    outputs = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=batch["position_ids"],
        logits_to_keep=longest_reply + 1,  # the position before a token predicts it
        use_cache=False,
    )
    logits = outputs.logits[:, :-1].float()
    wanted = labels[:, width - longest_reply :]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(wanted.shape)


def length_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length, longest first, each of at most `max_tokens` with padding (or one item)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for i in order:
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


@torch.inference_mode()
def score_replies(
    model: PreTrainedModel,
    examples: Sequence[Example],
    pad_id: int,
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> list[float]:
    """Summed negative log-likelihood (nats) of each example's reply, its end token included."""
    scores = [0.0] * len(examples)
    for batch in length_batches([len(example) for example in examples], batch_tokens):
        tensors = collate([examples[i] for i in batch], pad_id)
        sums = reply_loss(model, {name: tensor.to(model.device) for name, tensor in tensors.items()}).sum(1)
        for i, value in zip(batch, sums.tolist(), strict=True):
            scores[i] = value
        advance(len(batch))
    return scores
