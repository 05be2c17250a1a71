"""A token's text where every token has its own place: in a cell, between blanks."""

import unicodedata

LINE_BREAK, BLANK = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\N{OPEN BOX}"


def on_one_line(word: str) -> str:
    """Stripped, with a sign for each line break; a sign for what would not be seen at all.

    Example:
        >>> [on_one_line(word) for word in (" she", "so,\\n\\n", " ")]
        ['she', 'so,↵↵', '␣']
    """
    seen = "".join(LINE_BREAK if c == "\n" else c for c in word if c == "\n" or c.isprintable())
    return seen.strip() or BLANK


def cells(text: str) -> int:
    """Its width in letters of a fixed width; East Asian ones count twice.

    Example:
        >>> cells("chess"), cells("象棋")
        (5, 4)
    """
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def fitted(word: str, width: int) -> str:
    """On one line, cut to so many cells.

    Example:
        >>> fitted("counterproductive", 12)
        'counterprod…'
    """
    word = on_one_line(word)
    if cells(word) <= width:
        return word
    while cells(word) > width - 1:
        word = word[:-1]
    return word + "…"
