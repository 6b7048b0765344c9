"""Random conditions over the categories a, b and c, as trees; and what a plain loop makes of them."""

from typing import Any

from hypothesis import strategies as st

#: A name, or a tuple of a word and one part (not) or some (and, or).
CONDITIONS = st.recursive(
    st.sampled_from("abc"),
    lambda parts: st.one_of(
        st.tuples(st.just("not"), parts),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(parts, min_size=2, max_size=3)),
    ),
    max_leaves=8,
).filter(lambda tree: depth(tree) <= 8)


def depth(tree: Any) -> int:
    if isinstance(tree, str):
        return 0
    word, parts = tree
    return 1 + (depth(parts) if word == "not" else max(map(depth, parts)))


def written(tree: Any) -> str:
    """The condition as it stands in a file, with all parentheses."""
    if isinstance(tree, str):
        return tree
    word, parts = tree
    if word == "not":
        return f"not ({written(parts)})"
    return f" {word} ".join(f"({written(part)})" for part in parts)


def brute_force(tree: Any, scores: dict[str, float]) -> float:
    if isinstance(tree, str):
        return scores[tree]
    word, parts = tree
    if word == "not":
        return 1 - brute_force(parts, scores)
    return {"and": min, "or": max}[word](brute_force(part, scores) for part in parts)
