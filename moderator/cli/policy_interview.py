"""The interview of `moderator policy new`: questions in plain words, a policy's words out."""

from collections.abc import Callable, Sequence

from moderator.tuning.new_policy import PolicyWords, category_name

#: Ask a question and return the answer; an empty one if there is none.
Ask = Callable[[str], str]
Say = Callable[[str], None]
#: Return hard negatives for the unsafe prompts of a category.
Propose = Callable[[Sequence[str]], list[str]]

INTRODUCTION = (
    "Say in plain words what a picture must not show. Describe what can be seen, not what it means: 'a person "
    "holding a gun', not 'violence'. Separate several with a semicolon."
)


def split_words(answer: str) -> list[str]:
    """Return the texts in an answer, which a semicolon separates, each once."""
    return list(dict.fromkeys(text for part in answer.split(";") if (text := " ".join(part.split()))))


def interview(words: PolicyWords, ask: Ask, say: Say, propose: Propose) -> None:
    """Ask for what a policy is about, and add the answers to its words."""
    say(INTRODUCTION)
    words.description = words.description or ask("What is this policy for?")
    while True:
        more = "something else" if words.categories else "something"
        name = category_name(ask(f"Name {more} that is not allowed, such as 'weapons' (empty: done)"))
        if not name:
            if words.categories:
                return
            say("A policy needs at least one.")
            continue
        unsafe = split_words(ask(f"What do pictures of '{name}' show?"))
        if not unsafe:
            say("Nothing was named, so it is left out.")
            continue
        category = words.category(name)
        category.unsafe += [text for text in unsafe if text not in category.unsafe]
        proposed = propose(category.unsafe)
        if proposed:
            say(f"These are near to '{name}' and should not be mistaken for it:")
            for number, text in enumerate(proposed, 1):
                say(f"  {number:2}  {text}")
            left_out = ask("Which of them are not allowed either? Numbers, or 'all' (empty: none)")
            category.proposed = _without(proposed, left_out)
        category.safe += [
            *category.proposed,
            *split_words(ask(f"What else must not be mistaken for '{name}'? (empty: nothing)")),
        ]


def _without(proposed: Sequence[str], answer: str) -> list[str]:
    if answer.strip().casefold() == "all":
        return []
    left_out = {int(word) for word in answer.replace(",", " ").split() if word.isdecimal()}
    return [text for number, text in enumerate(proposed, 1) if number not in left_out]
