"""An unfinished line of bash: its words without quotes, and which part of the last one bash replaces."""

from dataclasses import dataclass

_SPECIAL = set(" \t\n\"'\\$`!#&()*;<>?[]^{|}")
"""Characters that bash does not take literally outside of quotes."""


@dataclass(frozen=True)
class Line:
    """The words of an unfinished line.

    Args:
        words: All but the last, without quotes and backslashes.
        current: The last word, which is being typed.
        kept: What bash leaves of it: it replaces what follows.
        quote: The quotation mark that is open at its end, or "".
    """

    words: tuple[str, ...]
    current: str
    kept: str
    quote: str


def split_line(text: str, breaks: str) -> Line:
    """Return the words of a line up to the cursor.

    Args:
        text: The line.
        breaks: The characters after which bash begins to replace, its COMP_WORDBREAKS.
    """
    words: list[str] = []
    current, kept, quote, has_word, index = "", "", "", False, 0
    while index < len(text):
        letter = text[index]
        index += 1
        if quote:
            if letter == quote:
                quote = ""
            elif letter == "\\" and quote == '"' and text[index : index + 1] in ('"', "\\", "$", "`"):
                current += text[index]
                index += 1
            else:
                current += letter
        elif letter in "\"'":
            quote, has_word, kept = letter, True, current
        elif letter == "\\":
            current += text[index : index + 1]
            has_word = True
            index += 1
        elif letter.isspace():
            if has_word:
                words.append(current)
            current, kept, has_word = "", "", False
        else:
            current += letter
            has_word = True
            if letter in breaks:
                kept = current
    return Line(tuple(words), current, kept, quote)


def escaped(text: str, quote: str) -> str:
    """Return the text as bash reads it within the open quotation mark, or outside of any."""
    if quote == "'":
        return text.replace("'", "'\\''")
    special = set('"\\$`') if quote else _SPECIAL
    return "".join(f"\\{letter}" if letter in special else letter for letter in text)
