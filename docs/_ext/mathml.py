"""Formulas as MathML, which browsers show by themselves: no script, and nothing from the network."""

import re

from docutils.utils.math.latex2mathml import tex2mathml

# What browsers leave to the document: the space between a function and its argument, and which bars stay small.
_SPACE = '<mspace width="0.1667em"></mspace>'
_CHANGES = (
    (re.compile(r"<mo>&ApplyFunction;</mo>(?!\s*<mo)"), _SPACE),
    (re.compile(r"(<msub>\s*<mi>log</mi>\s*<mn>10</mn>\s*</msub>)"), rf"\1{_SPACE}"),
    (
        re.compile(r'<mo(?: class="math\w+"| stretchy="false")?>([‖|⟨⟩])</mo>'),
        r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>',
    ),
)


def mathml(tex, **options):
    """The MathML of a formula in TeX."""
    text = tex2mathml(tex, **options)
    for pattern, replacement in _CHANGES:
        text = pattern.sub(replacement, text)
    return text


def inline(translator, node):
    translator.body.append(mathml(node.astext()))
    _skip()


def block(translator, node):
    translator.body.append('<div class="math">')
    if node["number"]:
        number = f"({node['number']})"
        translator.body.append(f'<span class="eqno">{number}')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(f"{mathml(node.astext(), as_block=True)}</div>\n")
    _skip()


def _skip():
    from docutils.nodes import SkipNode

    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
