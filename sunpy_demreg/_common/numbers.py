"""Numbers as titles and summaries show them."""

__all__ = ["in_math", "significant"]


def significant(value, digits=3):
    """A number with so many significant digits: 0.0273, 1.00, 38.4; all of those in front of the point, 1234."""
    if value == 0:
        return "0"
    text = f"{value:#.{digits}g}"
    if "e+" in text and abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.removesuffix(".")


def in_math(value, digits=3):
    """As `significant`, for a picture: with a power of ten."""
    number, _, power = significant(value, digits).partition("e")
    return number + (rf"$\times10^{{{int(power)}}}$" if power else "")
