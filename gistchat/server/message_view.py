"""Messages of the store as the conversations API gives them."""

from collections.abc import Sequence

from gistchat.server.conversation_schemas import Message
from gistchat.store import conversation_store as stored
from gistchat.store.conversation_store import ConversationStore


def messages_of(store: ConversationStore, id: str, messages: Sequence[stored.Message]) -> list[Message]:
    """Messages with their other versions, receipts and ratings.

    Raises NoSuchConversation, StoreUnavailable.
    """
    keys = [message.key for message in messages]
    siblings, receipts, ratings = store.siblings(id, keys), store.receipts_of(id, keys), store.ratings_of(id, keys)
    return [
        Message(
            key=message.key,
            number=message.position + 1,
            speaker=message.speaker,
            text=message.text,
            date=message.date,
            created=message.created,
            siblings=siblings.get(message.key, [message.key]),
            receipt=receipts.get(message.key),
            rating=ratings.get(message.key, (0, ""))[0],
        )
        for message in messages
    ]
