"""The directive ``command-line``: the page of the command line, made from its parser."""

import argparse
import re

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

_WIDTH = 44  # of the usage, which then fits on a phone


def commands_of(parser):
    """The commands, each with its one-line help and its parser."""
    [group] = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    helps = {choice.dest: choice.help for choice in group._choices_actions}
    return [(name, helps[name], command) for name, command in group.choices.items()]


def page(parser):
    """Lines of reStructuredText: each command with its usage, arguments, options and examples."""
    lines = []
    for name, text, command in commands_of(parser):
        title = f"{parser.prog} {name}"
        lines += [title, "=" * len(title), "", _sentence(_marked(text)), "", ".. code-block:: none", ""]
        lines += [f"   {line}" for line in _usage(command)]
        lines += ["", f".. program:: {title}", ""]
        for action in command._actions:
            if not isinstance(action, argparse._HelpAction):
                lines += _option(action)
        if command.epilog:
            lines += ["Examples:", "", ".. code-block:: console", ""]
            examples = command.epilog.removeprefix("examples:").removeprefix("example:").strip().splitlines()
            lines += [*(f"   $ {line.strip()}" for line in examples), ""]
    return lines


def _usage(command):
    """The options below the name of the command, however long that is."""
    formatter = argparse.HelpFormatter("", width=_WIDTH)
    formatter.add_usage(command.usage, command._actions, command._mutually_exclusive_groups, prefix="")
    return [command.prog, *(f"    {line.strip()}" for line in formatter.format_help().strip().splitlines())]


def _option(action):
    """The entry of an option or of a positional argument, to which ``:option:`` can refer."""
    names = action.option_strings or [action.metavar]
    value = argparse.HelpFormatter("")._format_args(action, action.dest.upper()) if action.option_strings else ""
    value = f" {value}" if action.nargs != 0 and value else ""
    text = action.help % {**vars(action), "prog": ""}
    is_required = " Required." if action.required and action.option_strings else ""
    return [
        f".. option:: {', '.join(name + value for name in names)}",
        "",
        f"   {_sentence(_marked(text))}{is_required}",
        "",
    ]


# What is code in a help text: something in quotation marks, an option, a URL, a name with an underscore.
_CODE = re.compile(r'"[^"]+"|--[a-z][a-z-]*|\w+://[^\s)]*\w|[a-z]{2,}_[a-z]{2,}(?:\.\w+)*')


def _marked(text):
    """With its code marked as such, whose hyphens would become dashes; what else would be markup is text."""
    parts, end = [], 0
    for match in _CODE.finditer(text):
        parts += [_plain(text[end : match.start()]), f"``{match.group()}``"]
        end = match.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text):
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def _sentence(text):
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


class CommandLine(Directive):
    """``.. command-line::``."""

    def run(self):
        from sunpy_demreg._cli import main

        self.state.document.settings.env.note_dependency(main.__file__)
        node = nodes.section()
        node.document = self.state.document
        source = StringList(page(main._parser()), source=main.__file__)
        self.state.nested_parse(source, 0, node, match_titles=1)
        return node.children


def setup(app):
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
