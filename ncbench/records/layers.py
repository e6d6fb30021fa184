"""The layers of a recorded network, by one vocabulary: their names and stages, their order, the words for several.

Letters: L, the depth, is the number of weight matrices of the head. `features` is H_1, what the head gets. `head.l`,
l = 1 ... L, is its l-th layer, with the stages `pre` (before its activation), `post` (after it) and `weight` (W_l).
`head.L` is the network's output and has no stage `post`. Values of the whole network have the layer ''.

Words for several layers, each with one meaning wherever it is used, in claims, figures, tables and messages
(`measure.layers` of a configuration takes names and globs, not these words):

- head: head.1 ... head.L.
- intermediate: head.1 ... head.L-1, all layers of the head but the output.
- hidden: the intermediate layers, where it is their activations that are looked at. The last hidden layer is what the
  last matrix gets: head.L-1, or `features` where L = 1.
- inner: head.2 ... head.L-1, the layers whose matrix is neither the first nor the last.
- all: every recorded layer, those of a backbone included.

A network without such a head has the names of its own modules, and NAME.input, stage `post`, is what the module NAME is
called with; `fc.input` and `fc` are the features and the classifier. Of the words only `all` names layers of it.

Only the standard library is imported, so that every room may use these words.
"""

import re

__all__ = [
    "COUNTED_WORDS",
    "FEATURES",
    "LAYER_WORDS",
    "STAGES",
    "WHOLE_NETWORK",
    "head_layer",
    "head_number",
    "input_of",
    "last_hidden_layer",
    "layer_key",
    "layers_between",
    "measured_by_default",
    "natural_key",
    "patterns",
    "rows_of_split",
    "stage_key",
]

WHOLE_NETWORK = ""
FEATURES = "features"
STAGES = ("", "pre", "post", "weight")  # in the order of tables; '' is that of the whole network

_HEAD = "head."
_INPUT = ".input"
_FIRST = {"intermediate": 1, "inner": 2}  # up to head.L-1
_PATTERNS = {"head": f"{_HEAD}*", "all": "*"}
COUNTED_WORDS = tuple(_FIRST)  # which layers they name depends on the depth
LAYER_WORDS = (*_FIRST, *_PATTERNS)  # what a claim may say instead of names


def head_layer(number: int) -> str:
    """The name of the head's layer l.

    >>> head_layer(2)
    'head.2'
    """
    return f"{_HEAD}{number}"


def head_number(layer: str) -> int | None:
    """The number l of `head.l`, None for every other layer.

    >>> head_number("head.12"), head_number("features"), head_number("head.1.linear")
    (12, None, None)
    """
    number = layer.removeprefix(_HEAD)
    return int(number) if layer.startswith(_HEAD) and number.isdecimal() else None


def input_of(module: str) -> str:
    """The layer that is what a module is called with.

    >>> input_of("fc")
    'fc.input'
    """
    return f"{module}{_INPUT}"


def measured_by_default(depth: int) -> list[str]:
    """The layers that are measured unless others are asked for: the features and every layer of the head.

    >>> measured_by_default(2)
    ['features', 'head.1', 'head.2']
    """
    return [FEATURES, *map(head_layer, range(1, depth + 1))]


def layers_between(word: str, depth: int) -> list[str]:
    """The layers that `intermediate` or `inner` names in a head of this depth; may be none.

    >>> layers_between("intermediate", 3), layers_between("inner", 3), layers_between("inner", 2)
    (['head.1', 'head.2'], ['head.2'], [])
    """
    return [head_layer(number) for number in range(_FIRST[word], depth)]


def last_hidden_layer(depth: int) -> str:
    """The layer whose activation the last matrix gets.

    >>> last_hidden_layer(4), last_hidden_layer(1)
    ('head.3', 'features')
    """
    return head_layer(depth - 1) if depth > 1 else FEATURES


def patterns(word: str) -> list[str] | None:
    """The glob that `head` or `all` stands for, None for every other text."""
    return [_PATTERNS[word]] if word in _PATTERNS else None


def layer_key(layer: str, place: int = 0) -> tuple[int, int, list[tuple[int, int, str]]]:
    """Sort key from input to output: '', features, the other layers in recorded order (`place`), head.1 ... head.L.

    >>> sorted(["head.10", "head.9", "features", ""], key=layer_key)
    ['', 'features', 'head.9', 'head.10']
    """
    if layer in (WHOLE_NETWORK, FEATURES):
        return (0, len(layer), [])
    return (2, 0, natural_key(layer)) if layer.startswith(_HEAD) else (1, place, [])


def stage_key(stage: str) -> int:
    """Sort key of stages in the order of tables; a stage that is not known comes last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key under which numbers inside names count as numbers.

    >>> sorted(["10", "9", "a2"], key=natural_key)
    ['9', '10', 'a2']
    """
    runs_of_digits = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in runs_of_digits]


def rows_of_split(split: str = "train") -> list[str]:
    """Values of the column `split` whose rows belong to a split: its name, and '' for what is no function of the data.

    The weights are the same whatever data the network is looked at with, so their rows belong to every split.

    >>> rows_of_split(), rows_of_split("test")
    (['train', ''], ['test', ''])
    """
    return [split, ""]
