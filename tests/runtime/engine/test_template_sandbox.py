"""What a template may do, and where it ends."""

from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from antiphon.runtime.engine.template_sandbox import Refused, TemplateSandbox

MESSAGES = [{"role": "user", "content": " one two "}, {"role": "assistant", "content": "three", "tools": ["a", "b"]}]

ORDINARY = {
    "loop variables": (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% else %}none{% endfor %}",
        "1/2False 2/2True ",
    ),
    "filtered loop": ("{% for m in messages if m.role == 'user' %}{{ m.content | trim }}{% endfor %}", "one two"),
    "backwards": ("{% for m in messages[::-1] %}{{ m['role'] }},{% endfor %}", "assistant,user,"),
    "break": ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
    "nothing to loop over": ("{% for t in tools %}x{% else %}none{% endfor %}", "none"),
    "pairs": ("{% for k, v in messages[0].items() %}{{ k ~ 1 ~ v }}{% endfor %}", "role1usercontent1 one two "),
    "namespace": ("{% set x = namespace(n=0) %}{% for m in [1, 2] %}{% set x.n = x.n + m %}{% endfor %}{{ x.n }}", "3"),
    "macro": ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) + f('a') }}", "<1><a>"),
    "methods": ("{{ 'a-b'.replace('-', '+') ~ ','.join('xy') ~ 'a b'.split()[1] }}", "a+bx,yb"),
    "filters": ("{{ 'ab' | join('-') ~ 'x' | replace('x', 'yz') ~ messages | map(attribute='role') | join(',') }}",
                "a-byzuser,assistant"),
    "indent": ("{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(2, true) }}", "a\n  b\n\n  c|  a\n  b"),
    "json": ("{{ {'a': 'é<'} | tojson }}{{ [1] | tojson(indent=1) }}{{ {'é': 1} | tojson(ensure_ascii=true) }}",
             '{"a": "é<"}[\n 1\n]{"\\u00e9": 1}'),
    "arithmetic": ("{{ 7 % 3 }}{{ 2 ** 3 }}{{ 2 * 3 }}{{ 'ab' * 2 }}{{ 2 * 'ab' }}{{ [1] + [2] }}{{ 1.5 * 2 }}",
                   "186abababab[1, 2]3.0"),
}  # fmt: skip
NESTED = "{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
GROWING = "{%% set ns = namespace(x='aa') %%}{%% for i in range(99) %%}{%% set ns.x = %s %%}{%% endfor %%}"

BOMBS = {
    "loops in loops": "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3,
    "long range": "{% for i in range(10**12) %}{% endfor %}",
    "text times number": "{{ 'a' * 10**10 }}",
    "number times list": "{{ 10**10 * [1] }}",
    "powers": "{{ 10 ** (10 ** 10) }}",
    "products": GROWING.replace("'aa'", "3") % "ns.x * ns.x",
    "doubling": GROWING % "ns.x + ns.x",
    "doubling by tilde": GROWING % "ns.x ~ ns.x",
    "doubling by blocks": "{% set x = 'aa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 50,
    "lists of lists": NESTED + "{{ ns.x }}",
    "lists as json": NESTED + "{{ ns.x | tojson }}",
    "lists as text": NESTED + "{% set y = ns.x | string %}",
    "replace": GROWING % "ns.x | replace('a', ns.x)",
    "replace as method": GROWING % "ns.x.replace('a', ns.x)",
    "range as list": "{{ range(10**9) | list | length }}",
    "credit for less than nothing": "{% set x = 'a' * -10**12 %}{{ 'a' * 10**10 }}",
    "credit for nothing at all": "{% set x = 0.0 * (10.0 ** 308 * 10) %}{{ 'a' * 10**10 }}",
    "sum of lists": "{% set x = [0] * 10**6 %}{{ ([x] * 10**5) | sum(start=[]) | length }}",
    "comparison": NESTED.replace("ns", "a") + NESTED + "{{ a.x == ns.x }}",
    "sorting": NESTED.replace("ns", "a") + NESTED + "{{ [a.x, ns.x] | sort | length }}",
    "search in loops": "{% set x = 'a' * 10**6 %}{% for i in range(60000) %}{{ 'b' in x | upper }}{% endfor %}",
    "separators": "{{ ([0] * 50000) | tojson(separators=('a' * 10**6, '')) }}",
    "deep indent": NESTED.replace("[ns.x, ns.x]", "[ns.x] + [0] * 500") + "{{ ns.x | tojson(indent=100) | length }}",
    "join": "{{ range(99999) | join('a' * 9999) }}",
    "join as method": "{{ ('a' * 9999).join(['b'] * 99999) }}",
    "padding": "{{ 'a'.ljust(10**10) }}",
    "formats": "{{ '%9999999999d' % 1 }}",
    "format method": "{{ '{:>9999999999}'.format(1) }}",
    "indent": "{{ 'a' | indent(10**10) }}",
    "indent of json": "{{ [1] | tojson(indent=10**10) }}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "output": "{% set x = 'a' * 999999 %}{% for i in range(99999) %}{{ x }}{% endfor %}",
}  # fmt: skip


def rendered(source: str) -> str:
    """With two messages."""
    return TemplateSandbox().render(TemplateSandbox().compiled(source), messages=MESSAGES)


@pytest.mark.parametrize(("source", "expected"), ORDINARY.values(), ids=ORDINARY)
def test_what_chat_templates_do_works(source: str, expected: str) -> None:
    """Counting changes nothing of it."""
    assert rendered(source) == expected


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_a_template_cannot_take_time_or_memory(source: str) -> None:
    """It is stopped before it has taken much of either; these would take hours, or all memory there is."""
    with pytest.raises(
        (TemplateError, OverflowError), match=r"too m|No filter|unsafe|without end|indents|format|Range"
    ):
        rendered(source)


def test_a_long_conversation_is_within_bounds() -> None:
    """A thousand turns, four million characters in all, trimmed, searched and written as usual."""
    source = (
        "{% for m in messages %}{% set c = m.content | trim %}"
        "{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>' + '\n' }}{% endfor %}"
    )
    long: list[dict[str, Any]] = [{"role": "user", "content": "word " * 800}] * 1000
    sandbox = TemplateSandbox()
    assert len(sandbox.render(sandbox.compiled(source), messages=long)) > 4_000_000


def test_what_the_template_refuses_is_told_from_what_it_may_not() -> None:
    """The first is the caller's fault, the second the file's."""
    with pytest.raises(Refused, match="roles must alternate"):
        rendered("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(SecurityError, match="unsafe"):
        rendered("{{ messages.__class__.__mro__ }}")
