"""Strategies that spoil good files: nasty texts, and bytes changed, cut out, put in or cut off."""

from hypothesis import strategies as st

NASTY_TEXTS = (
    *("", " ", "\t", "\0", "\n", "\r", "\r\n", '"', "'", '""', ",", ";", "|", "\\", "/", "//", ".", "..", "../x"),
    *("/etc/passwd", "C:\\x", "\\\\host\\x", "a\\b", "a/../b", "./a", "a/", "~", "$HOME", "%s", "{0}", "{label}/"),
    *("\x1b[31m", "\u202e", "\ufeff", "e\u0301", "\u00e9", "Weber ", "\u200b", "=1+1", "\U0010ffff"),
    *("nan", "NaN", "inf", "-inf", "1e19", "1e400", "-1", "0", "00", "1.0", "1.5", "0x10", "1_000", " 5", "５", "²"),
    *("9" * 30, "9" * 5000, "-2", "-3", "2147483648", "9223372036854775808"),
    *("true", "False", "None", "null", "NA", "<NA>", "a" * 300, "ü" * 200, "x/" * 3000, "x" * 140_000),
)

nasty = st.sampled_from(NASTY_TEXTS)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
cells = st.one_of(nasty, texts, st.integers(-(2**70), 2**70).map(str), st.floats().map(str))


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the bytes with up to four changes, the later ones nearer to the end, where Parquet has its footer."""
    for _ in range(draw(st.integers(0, 4))):
        size = len(content)
        near_end = draw(st.booleans())
        place = size - draw(st.integers(0, min(size, 200))) if near_end else draw(st.integers(0, size))
        length = draw(st.integers(0, 16))
        kind = draw(st.sampled_from(["change", "insert", "remove", "cut", "repeat"]))
        if kind == "change":
            content = content[:place] + draw(st.binary(max_size=4)) + content[place + 1 :]
        elif kind == "insert":
            content = content[:place] + draw(st.binary(max_size=length)) + content[place:]
        elif kind == "remove":
            content = content[:place] + content[place + length :]
        elif kind == "cut":
            content = content[:place]
        else:
            content = content[:place] + content[max(0, place - length) : place] * 2 + content[place:]
    return content
