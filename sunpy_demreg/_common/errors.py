"""Errors that know their argument, and imports of optional packages."""

from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from typing import Self

__all__ = ["ArgumentError", "first_line", "imported", "message_of", "nearest", "wrong"]


class ArgumentError(Exception):
    """
    A wrong argument: the message begins with its name, and says the rule, what came, and the cure.

    Each is also one of Python's own kinds, such as `ValueError`, `TypeError` or `FileNotFoundError`.

    Attributes
    ----------
    argument : `str`
        Its name.
    problem : `str`
        The message without it.

    Examples
    --------
    >>> import astropy.units as u
    >>> import sunpy_demreg as demreg
    >>> try:
    ...     demreg.TemperatureResponse.from_aia([172] * u.AA)
    ... except demreg.ArgumentError as error:
    ...     print(error.argument)
    cube_or_channels
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(message_of(f"`{name}`", problem))
        self._name = name
        self.argument = name.partition("[")[0]
        self.problem = problem

    def renamed(self, name: str) -> Self:
        """The same error for an argument of another name, of the function that the user called."""
        return type(self)(self._name.replace(self.argument, name, 1), self.problem)

    def __reduce__(self):
        return type(self), (self._name, self.problem)


def message_of(name, problem):
    """The full message: the name followed by the problem."""
    return f"{name}{'' if problem.startswith(':') else ' '}{problem}"


def first_line(err):
    """The first line of the message of an error, to quote it in another."""
    return str(err).partition("\n")[0]


def nearest(word, words):
    """The closest valid word, as a hint at the end of a message."""
    near = get_close_matches(str(word), [each for each in words if isinstance(each, str)], n=1)
    return f" (did you mean {near[0]!r}?)" if isinstance(word, str) and near else ""


def wrong(kind, name, problem):
    """
    Make the error of a wrong argument.

    Parameters
    ----------
    kind : type
        The built-in exception that it should also be.
    name : `str`
        Of the argument, possibly with the index of the wrong item: ``"maps[2]"``.
    problem : `str`
        The message after the name: the rule, what came, and the cure.
    """
    return _class_of(kind)(name, problem)


@lru_cache
def _class_of(kind):
    # Classes made here cannot be pickled by name.
    def __reduce__(self):
        return wrong, (kind, self._name, self.problem)

    return type(f"Argument{kind.__name__}", (ArgumentError, kind), {"__reduce__": __reduce__})


def imported(module, what, extra):
    """
    Import an optional dependency.

    Parameters
    ----------
    module : `str`
    what : `str`
        What needs it, for the message.
    extra : `str`
        Name of the extra that installs it, ``pip install 'sunpy-demreg[extra]'``.
    """
    try:
        return import_module(module)
    except ImportError as err:
        package = module.partition(".")[0].replace("_", "-")
        raise ImportError(f"{what} needs {package} ({err}): pip install 'sunpy-demreg[{extra}]'") from err
