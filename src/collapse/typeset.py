"""Lines of text for tables that are drawn: broken to a width that is measured, not guessed."""

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import TextToPath


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines of at most ``width`` points in DejaVu Sans of ``size`` points.

    White space counts as one space; characters that the font lacks become U+FFFD. An empty text is "(empty)".
    """
    font = FontProperties(family="DejaVu Sans")
    glyphs, measure = get_font(findfont(font)), TextToPath()
    text = "".join(c if glyphs.get_char_index(ord(c)) else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))

    def wide(line: str) -> float:
        return measure.get_text_width_height_descent(line, font, False)[0] * size / font.get_size_in_points()

    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if wide(longer) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for c in word:  # letter by letter: a word may be longer than a line
            lines[-1:] = [lines[-1] + c] if wide(lines[-1] + c) <= width else [lines[-1], c]
    return [line for line in lines if line] or ["(empty)"]


def cut(text: str, characters: int) -> str:
    """Return a text that ends at the last word within ``characters``, with an ellipsis where something is left out."""
    if len(text) <= characters:
        return text
    head = text[:characters]
    return f"{head.rpartition(' ')[0] or head} …"
