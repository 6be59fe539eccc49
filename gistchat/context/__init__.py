"""What the model sees before it answers: the pieces of a context, the token budget, and the table of strategies."""
