"""Token counts of many texts at once."""

from collections.abc import Callable

Count = Callable[[list[str]], list[int]]


def token_counter(tokenizer: Callable[..., dict[str, list[list[int]]]]) -> Count:
    """A function that counts the tokens of each text, control tokens spelled out as in a prompt."""

    def count(texts: list[str]) -> list[int]:
        if not texts:
            return []
        ids = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return list(map(len, ids))

    return count
