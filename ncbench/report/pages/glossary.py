"""Words of the field, explained where they stand: dotted underlines that lead to a list at the foot of the page."""

import re

from markupsafe import Markup, escape

__all__ = ["GLOSSARY", "terms"]

GLOSSARY = {
    "DNC": "Deep neural collapse: in every layer all samples of a class have one representation, and those of "
    "different classes are orthogonal and equally long. Its rank is the number of classes K.",
    "DNC1": "How far the samples of a class are from one representation: the variation within the classes over the "
    "spread of the class means, tr Sigma_W / tr Sigma_B; 0 after collapse.",
    "DNC2": "How far the class means are from orthogonal and equally long: the largest over the smallest of their K "
    "singular values; 1 after collapse, large where the rank is low.",
    "NC1": "Collapse of the variation within the classes at the classifier's input: tr(Sigma_W Sigma_B^+) / K, over "
    "the directions in which the class means differ; another quantity than DNC1; 0 after collapse.",
    "NC2": "How far the centred class means are from a simplex: the spread of their norms over the mean norm, and the "
    "mean distance of their cosines to -1/(K-1); both 0 after collapse.",
    "NC3": "Distance between the classifier's weight and the centred class means, each scaled to length 1; 0 after "
    "collapse.",
    "NC4": "Share of samples for which the nearest class mean decides otherwise than the network; 0 after collapse.",
    "TCV": "Total cluster variation: the mean squared distance of a layer's samples to the mean of their class; 0 "
    "after collapse.",
    "SRG": "A solution whose loss can be lower than that of DNC: for K = r (r - 1) / 2 classes the class means of the "
    "intermediate layers have rank r, and their Gram matrix is the pattern of a strongly regular graph.",
    "replica": "One of the networks that a run trains at the same time; they differ in their seed, or in the values "
    "that the run replicates.",
    "class means": "The K means of a layer's outputs over the samples of each class, not centred.",
    "Gram matrix": "The inner products of all pairs of class means; drawn as cosines.",
    "numerical rank": "How many singular values exceed one hundredth of the largest.",
    "stage": "Where in a layer: pre, post, or weight, the matrix itself.",
    "pre": "The output of a layer's matrix, before the activation.",
    "post": "The output of a layer after its activation.",
    "terminal phase": "The part of training from which on the training error is zero: training accuracy at least "
    "0.9999 at every measurement up to the last.",
}
_FORMS = {
    "replicas": "replica",
    "Gram matrices": "Gram matrix",
    "pre-activation": "pre",
    "post-activation": "post",
    "deep neural collapse": "DNC",
    "deep-neural-collapse": "DNC",
    "strongly regular graph": "SRG",
    "total cluster variation": "TCV",
    **{word: word for word in GLOSSARY},
}
_WORDS = re.compile(rf"\b({'|'.join(sorted(map(re.escape, _FORMS), key=len, reverse=True))})\b", re.IGNORECASE)
_OF_LOWER = {form.lower(): word for form, word in _FORMS.items()}


def terms(text: object) -> Markup:
    """A text, escaped, with a link to the list at the first of each of the words.

    >>> print(terms("a & b: stage")[:52])
    a &amp; b: <a class="term" href="#word-stage" title=
    """
    plain, shown, seen, end = str(text), Markup(), set[str](), 0
    for found in _WORDS.finditer(plain):
        word = _OF_LOWER[found[0].lower()]
        if word in seen:
            continue
        seen.add(word)
        link = Markup('<a class="term" href="#{}" title="{}">{}</a>')
        shown += escape(plain[end : found.start()]) + link.format(anchor(word), GLOSSARY[word], found[0])
        end = found.end()
    return shown + escape(plain[end:])


def anchor(word: str) -> str:
    """The id of a word's entry in the page.

    >>> anchor("Gram matrix")
    'word-gram-matrix'
    """
    return f"word-{word.lower().replace(' ', '-')}"
