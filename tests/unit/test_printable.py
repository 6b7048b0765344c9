from moderator.printable import printable


def test_what_does_not_print_is_replaced() -> None:
    assert printable("plain text, né") == "plain text, né"
    assert printable("a\x1b[31m\n\ud800b") == "a?[31m??b"
    assert printable("a\tb", " ") == "a b"
    assert printable("a\u200bb", lambda c: f"<{ord(c):x}>") == "a<200b>b"
    assert printable("né\n", ascii_only=True) == "n??"
