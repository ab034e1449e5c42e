"""Errors that know which argument they are about, and whatever asks for a package that is not installed."""

from functools import lru_cache
from importlib import import_module
from typing import Self

__all__ = ["ArgumentError", "imported", "message_of", "wrong"]


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
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(message_of(f"`{name}`", problem))
        self._name = name
        self.argument = name.partition("[")[0]
        self.problem = problem

    def renamed(self, name: str) -> Self:
        """The same error, of the argument of another function through which this one came."""
        return type(self)(self._name.replace(self.argument, name, 1), self.problem)

    def __reduce__(self):
        return type(self), (self._name, self.problem)


def message_of(name, problem):
    """The name and what follows it: a sentence about it, or behind a colon."""
    return f"{name}{'' if problem.startswith(':') else ' '}{problem}"


def wrong(kind, name, problem):
    """
    Make the error of a wrong argument.

    Parameters
    ----------
    kind : type
        The exception of Python's that it is to be, too.
    name : `str`
        Of the argument, maybe with the index of what is wrong in it: ``"maps[2]"``.
    problem : `str`
        The message behind the name: the rule, what came, and the cure.
    """
    return _class_of(kind)(name, problem)


@lru_cache
def _class_of(kind):
    # What is made here cannot be found by its name, as a pickle would.
    def __reduce__(self):
        return wrong, (kind, self._name, self.problem)

    return type(f"Argument{kind.__name__}", (ArgumentError, kind), {"__reduce__": __reduce__})


def imported(module, what, extra):
    """
    Import a module that only some of the package needs.

    Parameters
    ----------
    module : `str`
    what : `str`
        What needs it, for the message.
    extra : `str`
        With which ``pip install 'sunpy-demreg[extra]'`` installs it.
    """
    try:
        return import_module(module)
    except ImportError as err:
        package = module.partition(".")[0].replace("_", "-")
        raise ImportError(f"{what} needs {package} ({err}): pip install 'sunpy-demreg[{extra}]'") from err
