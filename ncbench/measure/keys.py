"""The names under which values go to a logger, in sections of their own: none collides with a name of the user's."""

__all__ = ["logged_name"]


def logged_name(
    split: str, layer: str, stage: str, measure: str, *, prefix: str = "nc", first_split: str = "train"
) -> str:
    """`<prefix>/<layer>/<stage>/<measure>`, of the whole network `<prefix>/<measure>`.

    Of another split than the first, or than '' (the weights), its name stands behind the prefix. W&B and TensorBoard
    make sections of what stands before a "/".

    >>> logged_name("train", "head.1", "post", "dnc1"), logged_name("", "fc", "weight", "norm")
    ('nc/head.1/post/dnc1', 'nc/fc/weight/norm')
    >>> logged_name("test", "", "", "accuracy")
    'nc/test/accuracy'
    """
    other = split not in ("", first_split)
    return "/".join(part for part in (prefix, split if other else "", layer, stage, measure) if part)
