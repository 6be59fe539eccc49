"""What is kept of a conversation: the rolling gist, summarizers, and the store of what they made."""
