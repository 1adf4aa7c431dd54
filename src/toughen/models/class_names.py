"""Classes of two sets that are the same, by their names."""

from collections import Counter
from collections.abc import Sequence

from toughen.catalog import folded


def matching(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """The number of each of our classes that they have too, with the number that it has there.

    A name may hold several with commas between them, as ImageNet's do; one of them is enough. Case, spaces, dashes and
    underscores do not count, and a name that several of their classes have stands for none.

    >>> matching(["n02123045, tabby, tabby cat", "n02124075, Egyptian cat"], ["egyptian_cat", "dog", "n02123045"])
    {0: 1, 2: 0}
    """
    several = Counter(word for name in theirs for word in _words(name))
    places = {word: place for place, name in enumerate(theirs) for word in _words(name) if several[word] == 1}
    found = {}
    for place, name in enumerate(ours):
        known = [places[word] for word in sorted(_words(name)) if word in places]
        if known:
            found[place] = known[0]
    return found


def _words(name: str) -> set[str]:
    return {folded(part.replace(" ", "")) for part in name.split(",")} - {""}
