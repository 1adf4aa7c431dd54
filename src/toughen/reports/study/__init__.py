"""A study's runs in, its figures, its answers in words, its page and its JSON out."""
