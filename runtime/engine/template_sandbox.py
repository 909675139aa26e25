"""A Jinja environment for templates that came with a download: what one rendering may do is counted, and ends.

Jinja's own sandbox keeps a template from Python's insides, not from looping for ever or from writing ``'a' * 10**10``.
Time cannot be taken from a thread, so work is: a step for each turn of a loop and each call, a unit for each character
or item that is made, compared or filtered.
"""

import json
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_WORK = 2**26  # units; a conversation of 128k tokens takes some 5 million
_STEP = 1024  # units: 65,536 turns and calls, a second or so
_REMOVED = (
    *("batch", "center", "filesizeformat", "format", "pprint", "random", "slice", "sum", "urlize", "wordwrap"),
    "xmlattr",
)
_COMPARING = ("dictsort", "groupby", "max", "min", "sort", "unique")  # filters that look into what they are given
_GROWING_METHODS = ("center", "expandtabs", "format", "format_map", "ljust", "rjust", "translate", "zfill")
_WIDEST_INDENT = 100
_LONGEST_NUMBER = 4096  # bits


class Refused(Exception):
    """The template called raise_exception."""


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """For one rendering: work is not given back."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], finalize=self._weighed
        )
        self._left = _WORK
        self.concat = self._concat  # type: ignore[method-assign] # what compiled templates put their pieces together with
        for name in _REMOVED:
            del self.filters[name]
        self.filters |= {
            "counted": self._counted,
            "indent": self._indent,
            "join": self._join,
            "replace": self._replace,
            "sized": self._sized,
            "string": self._string,
            "tojson": self._tojson,
            "weighed": self._weighed,
        }
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _refuse

    def compiled(self, source: str) -> CodeType:
        """``source`` as code that counts.

        Raises:
            TemplateSyntaxError: not Jinja, or with what cannot be bounded.
        """
        return self.compile(_Counting().visit(self.parse(source)))

    def render(self, code: CodeType, **variables: Any) -> str:
        """The text that ``code``, of any such environment, makes of ``variables``.

        Raises:
            Refused: the template refuses what it was given.
            SecurityError: it does more than it may.
        """
        return Template.from_code(self, code, self.make_globals(None)).render(**variables)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A step, and for the methods of text that grow it what they make."""
        __self._spend(_STEP)
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in ("join", "replace"):
            return __self._replace(owner, *args) if name == "replace" else __self._join(args[0], owner)
        __self._sized(owner)
        return super().call(__context, __obj, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Not the methods that pad or format text to any width."""
        return super().is_safe_attribute(obj, attr, value) and not (isinstance(obj, str) and attr in _GROWING_METHODS)

    def wrap_str_format(self, value: Any) -> None:
        """Not even the base's own, which is as wide as it is told."""

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """As many units as the result has characters or items; numbers of 4,096 bits at most."""
        if operator == "%" and isinstance(left, str):
            raise SecurityError("formats text with %")
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _LONGEST_NUMBER:
                raise SecurityError("computes with numbers without end")
        elif operator == "+":
            self._spend(_size(left) + _size(right))
        elif operator == "*" and (isinstance(left, int) or isinstance(right, int)):
            size, times = (_size(right), left) if isinstance(left, int) else (_size(left), right)
            self._spend(size * max(times, 0))
        return super().call_binop(context, operator, left, right)

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise SecurityError("takes too many turns, or makes too much text")

    def _weighed(self, value: Any) -> Any:
        """``value``, paid for by what it is as text: a list that holds a list twice is written twice."""
        waiting = [value]
        while waiting:
            item = waiting.pop()
            self._spend(_size(item))
            if isinstance(item, dict | list | tuple):
                self._spend(_STEP)
                waiting += [*item, *item.values()] if isinstance(item, dict) else item
        return value

    def _sized(self, value: Any) -> Any:
        """``value``, paid for by what it is without what lies in it."""
        self._spend(_size(value))
        return value

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._spend(_STEP)
            yield item

    def _concat(self, pieces: Iterable[str]) -> str:
        return "".join(map(self._weighed, pieces))

    def _indent(self, text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
        if not isinstance(width, int) or width > _WIDEST_INDENT:
            raise SecurityError(f"indents by {width!r:.20}")
        pad = " " * width
        lines = [pad + line if line or blank else line for line in self._string(text).splitlines()]
        joined = self._join(lines, "\n")
        return joined if first else joined.removeprefix(pad)

    def _join(self, items: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
        if attribute is not None:
            items = [self.getitem(item, attribute) for item in items]
        texts = [self._string(item) for item in items]
        self._spend(len(texts) * len(d))
        return d.join(texts)

    def _replace(self, s: str, old: str, new: str, count: int | None = None) -> str:
        text = self._string(s)
        self._spend(text.count(old) * len(new))
        return text.replace(old, new, -1 if count is None else count)

    def _string(self, value: Any) -> str:
        return str(self._weighed(value))

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """As transformers has it: Jinja's own filter escapes for HTML, which models were not trained on."""
        if indent is not None and not 0 <= indent <= _WIDEST_INDENT:
            raise SecurityError(f"indents by {indent!r:.20}")
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return self._concat(encoder.iterencode(self._weighed(value)))


class _Counting(NodeTransformer):
    """Puts a loop's items through ``counted``, what ``~`` joins through ``join``, and what is filtered or compared
    through ``sized`` or ``weighed``."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise SecurityError("has a recursive loop")
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "counted")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        if node.node is not None:  # else the text of a block, paid for as it was put together
            node.node = _filtered(node.node, "weighed" if node.name in _COMPARING else "sized")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "weighed")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "weighed")
        return node


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _size(value: Any) -> int:
    """Characters or items."""
    return len(value) if isinstance(value, str | list | tuple | dict) else 0


def _refuse(message: str) -> NoReturn:
    raise Refused(message)
