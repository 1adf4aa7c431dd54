"""The attacks of an evaluation: which a budget runs, how each runs on a batch, and faster forms of them."""
