"""A run's network as a file that others read, checked in what will run it; its card, and its way to a hub.

One format a file, each with `write` and `logits`: what puts a network into a file, and what asks that file, in its own
runtime, for the logits of images.
"""
