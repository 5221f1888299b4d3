"""Templates of notices: a small part of Jinja2 over named placeholders, giving markup (see markup.py).

Whoever writes one is an administrator of an organisation, not of this deployment: only what cannot loop, call or grow is
allowed, and Jinja2's sandbox stands behind that. Values are escaped; only the template itself can format.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache, lru_cache

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from switchboard.domain import plain_text
from switchboard.domain.organisations import markup
from switchboard.domain.organisations.digests import LINE_SPANS, LINE_UNITS
from switchboard.domain.organisations.markup import MOST_SPANS, MOST_UNITS, Formatted, Style
from switchboard.errors import InvalidInputError

MOST_SOURCE_CHARS = 8_000
MOST_PROBLEMS = 20
LEAST_TRUNCATED = 3
"""Characters that `truncate` leaves: so many has the `...` it puts there."""
MOST_LEVELS = 30
"""Of conditions and brackets in each other; Python takes a hundred."""
FILTERS = ("upper", "lower", "capitalize", "trim", "default", "truncate", "escape")
PLACEHOLDERS: Mapping[str, tuple[str, str]] = {
    "number": ("the document's number", "9" * 100),
    "title": ("its title, may be empty", "W" * 500),
    "link": ("its address, may be empty", "https://example.org/" + "a" * 1980),
    "deadline": ("when it is due, by the reader's clocks, may be empty", "Wednesday, 30 September, 23:59 (UTC+05:45)"),
    "kind": ("the kind of the event", "k" * 64),
    "organisation": ("the organisation's name", "W" * 200),
    "recipient": ("the reader's name, may be empty", "W" * 160),
    "support_contact": ("whom to ask, may be empty", "W" * 200),
    "stop_hint": ("how to get no more messages, empty where an answer is not heard", "W" * 100),
}
"""What a template may name: what it stands for, and its longest value."""


class Purpose(StrEnum):
    """What a message about a document is; `digest` is its line in a message about several."""

    NOTICE = "notice"
    DIGEST = "digest"
    REMINDER = "reminder"
    PROCESSED = "processed"


_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_TOO_DEEP = "the template has too many conditions or brackets in each other"
_HOW_TO_FILTER = 'filters stand behind a placeholder: title|upper, title|default("-", true), title|truncate(40)'
_NOT_ALLOWED = "is not allowed; there are placeholders, filters and if"
_TAGS = ("", "?", "if", "elif", "else", "print")
"""The tags there are; "" stands for an expression, "?" for a tag without a name."""
_ENDED = ("for", "block", "macro", "call", "filter", "with")
"""Of the others those that another tag ends."""
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.If,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
)
_WORDS: tuple[tuple[type[nodes.Node] | tuple[type[nodes.Node], ...], str], ...] = (
    (nodes.For, "{% for %}"),
    ((nodes.Assign, nodes.AssignBlock), "{% set %}"),
    (nodes.Include, "{% include %}"),
    ((nodes.Import, nodes.FromImport), "{% import %}"),
    (nodes.Extends, "{% extends %}"),
    (nodes.Block, "{% block %}"),
    (nodes.Macro, "{% macro %}"),
    (nodes.CallBlock, "{% call %}"),
    (nodes.FilterBlock, "{% filter %}"),
    (nodes.With, "{% with %}"),
    (nodes.Getattr, "a dot behind a value"),
    (nodes.Getitem, "a bracket behind a value"),
    (nodes.Call, "a call"),
    ((nodes.BinExpr, nodes.UnaryExpr, nodes.Concat), "arithmetic"),
    (nodes.Test, "is"),
    ((nodes.List, nodes.Tuple, nodes.Dict), "a list"),
)
"""What is not allowed, as those call it who write a template."""


def parse_purpose(text: str) -> Purpose:
    """The purpose of this name; InvalidInputError for any other."""
    try:
        return Purpose(text)
    except ValueError:
        raise InvalidInputError(f"the purpose is one of {', '.join(Purpose)}", field="purpose") from None


def check_kind(kind: str) -> None:
    """InvalidInputError for a kind of event that is none."""
    if not _KIND.fullmatch(kind):
        raise InvalidInputError(
            "a kind begins with a letter and has at most 64 of a-z, 0-9, dot, dash and underscore, for example to_sign",
            field="kind",
        )


def problems(source: str, purpose: Purpose = Purpose.NOTICE) -> list[str]:
    """Everything that is wrong with a template, each in a sentence; none for one that may be stored."""
    return (faults(source) or _problems_of_results(source, purpose))[:MOST_PROBLEMS]


def faults(source: str) -> list[str]:
    """Of these problems those that keep a template from being tried: too long, unreadable, or doing what is not allowed."""
    if len(source) > MOST_SOURCE_CHARS:
        return [f"the template has more than {MOST_SOURCE_CHARS} characters"]
    if (problem := plain_text.problem_of(source)) is not None:
        return [problem]
    try:
        parsed = _environment().parse(source)
    except TemplateSyntaxError as error:
        return list(dict.fromkeys(_of_unreadable(source, error)))[:MOST_PROBLEMS]
    except RecursionError:
        return [_TOO_DEEP]
    if _is_deeper(parsed, MOST_LEVELS):
        return [_TOO_DEEP]
    return list(dict.fromkeys(_forbidden(parsed)))[:MOST_PROBLEMS]


def render(source: str, values: Mapping[str, str]) -> Formatted:
    """The message of a template that has no problems; placeholders without a value are empty. One Telegram message at most."""
    return written(source, values).cut()


def written(source: str, values: Mapping[str, str]) -> Formatted:
    """The same, however long; for any template without `faults`."""
    filled = {name: values.get(name, "") for name in PLACEHOLDERS}
    return markup.parse(_compiled(source).render(filled))


@lru_cache(maxsize=256)
def named(source: str) -> frozenset[str]:
    """The placeholders that a template without `faults` names."""
    return frozenset(node.name for node in _environment().parse(source).find_all(nodes.Name))


def _forbidden(parsed: nodes.Template) -> Iterator[str]:
    for node in _all_nodes(parsed):
        line = f"line {node.lineno}"
        if isinstance(node, nodes.Name) and node.name not in PLACEHOLDERS:
            near = difflib.get_close_matches(node.name, PLACEHOLDERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PLACEHOLDERS)}"
            yield f"{line}: there is no placeholder {node.name}; {hint}"
        elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
            yield f"{line}: there is no filter {node.name} here; there are {', '.join(FILTERS)}"
        elif isinstance(node, nodes.Filter) and not _can_filter(node):
            yield f"{line}: {_HOW_TO_FILTER}"
        elif isinstance(node, nodes.Compare) and not _can_compare(node):
            yield f"{line}: placeholders and texts are compared with each other; numbers only by == and !="
        elif not isinstance(node, _ALLOWED):
            yield f"{line}: {_in_words(node)} {_NOT_ALLOWED}"


def _of_unreadable(source: str, error: TemplateSyntaxError) -> Iterator[str]:
    """What can be said of a template that Jinja2 cannot read as a whole: each tag and expression by itself, then its own word.

    That is left out where it is about a tag that is not allowed anyway.
    """
    forbidden: set[str] = set()
    ends = ""  # what ends the tag that is not allowed and around us: what stands inside is not judged
    for line, tag, expression in _parts(source):
        if tag == ends:
            ends = ""
        if ends:
            continue
        if tag not in _TAGS and not tag.startswith("end"):
            forbidden.add(tag)
            ends = f"end{tag}" if tag in _ENDED else ""
            yield f"line {line}: {{% {tag} %}} {_NOT_ALLOWED}"
        elif expression:
            yield from _of_expression(expression, line, error.lineno)
    message = error.message or ""
    if not any(f"'{tag}'" in message or f"'end{tag}'" in message for tag in forbidden):
        yield f"line {error.lineno}: {message}"


def _of_expression(expression: str, line: int, known_line: int) -> Iterator[str]:
    """What is wrong with an expression by itself; what keeps it from being read on `known_line` is said already."""
    try:
        parsed = _environment().parse("\n" * (line - 1) + "{{ " + expression + " }}")
    except TemplateSyntaxError as error:
        if error.lineno != known_line:
            yield f"line {error.lineno}: {error.message}"
    except RecursionError:
        yield _TOO_DEEP
    else:
        yield from [_TOO_DEEP] if _is_deeper(parsed, MOST_LEVELS) else _forbidden(parsed)


def _parts(source: str) -> Iterator[tuple[int, str, str]]:
    """Tags and expressions as far as they can be told apart: the line, the tag ("" for none), the expression behind it."""
    line, tag, inside = 0, "", ""
    try:
        for number, token, value in _environment().lex(source):
            match token:
                case "variable_begin":
                    line, tag, inside = number, "", ""
                case "block_begin":
                    line, tag, inside = number, "?", ""
                case "variable_end" | "block_end":
                    yield line, tag, inside.strip()
                case "name" if tag == "?":
                    line, tag = number, value
                case _:
                    inside += value
    except TemplateSyntaxError:
        return


def _in_words(node: nodes.Node) -> str:
    return next((words for kinds, words in _WORDS if isinstance(node, kinds)), "this")


def _can_filter(node: nodes.Filter) -> bool:
    """Whether a filter works with any values: nothing that is checked may fail when a message is written."""
    if not _is_text(node.node) or node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
        return False
    match node.name:
        case "default":
            return 1 <= len(node.args) <= 2 and _is_text(node.args[0])
        case "truncate":
            given = [argument.value for argument in node.args if isinstance(argument, nodes.Const)]
            kinds = [type(value) for value in given]
            fits = len(given) == len(node.args) and kinds in ([], [int], [int, bool])
            return fits and (not given or given[0] >= LEAST_TRUNCATED)
        case _:
            return not node.args


def _can_compare(node: nodes.Compare) -> bool:
    return all(one.op in ("eq", "ne") for one in node.ops) or all(
        _is_text(one) for one in (node.expr, *(operand.expr for operand in node.ops))
    )


def _is_text(node: nodes.Node | None) -> bool:
    if isinstance(node, nodes.CondExpr):
        return _is_text(node.expr1) and _is_text(node.expr2)
    return isinstance(node, nodes.Name | nodes.Filter) or (
        isinstance(node, nodes.Const) and isinstance(node.value, str)
    )


def _is_deeper(node: nodes.Node, levels: int) -> bool:
    return levels == 0 or any(_is_deeper(child, levels - 1) for child in node.iter_child_nodes())


def _all_nodes(node: nodes.Node) -> Iterator[nodes.Node]:
    """The nodes that a reader of the template would name: not what stands inside one that is not allowed anyway."""
    yield node
    if isinstance(node, _ALLOWED):
        for child in node.iter_child_nodes():
            yield from _all_nodes(child)


def _problems_of_results(source: str, purpose: Purpose) -> list[str]:
    """What is wrong with what comes out: with every value at its longest, and with those that may be empty left out."""
    longest = {name: value for name, (_, value) in PLACEHOLDERS.items()}
    shortest = {name: "" if "empty" in about else value for name, (about, value) in PLACEHOLDERS.items()}
    template = _compiled(source)
    full, bare = template.render(longest), template.render(shortest)
    found = markup.problems(full) + markup.problems(bare)
    if not markup.parse(bare).text:
        found.append("the message would be empty where title, link and deadline are not given")
    units = max(markup.parse(full).units, markup.parse(bare).units)
    if purpose is Purpose.DIGEST:
        found += _problems_of_line(markup.parse(full), longest)
    elif units > MOST_UNITS:
        found.append(
            f"the message could have {units} characters, {MOST_UNITS} fit in one: put the link behind a word "
            '(<a href="{{ link }}">Open</a>) and shorten the text'
        )
    spans = max(len(markup.parse(full).spans), len(markup.parse(bare).spans))
    if spans > MOST_SPANS:
        found.append(f"the message has {spans} formatted parts, Telegram shows {MOST_SPANS}: format less")
    return list(dict.fromkeys(found))


def _problems_of_line(line: Formatted, longest: Mapping[str, str]) -> Iterator[str]:
    """Of a line that is cut where it is too long: the number stays, and no link is broken."""
    if "\n" in line.text:
        yield "a document has one line in a digest: write no line breaks"
    if longest["number"] not in line.cut(LINE_UNITS).text:
        yield (
            f"a line of a digest is cut behind {LINE_UNITS} characters: name the number, and name it before what can be long"
        )
    if longest["link"] in line.text:
        yield 'put the link behind a word (<a href="{{ link }}">Open</a>): a line of a digest has no room for it'
    if len(line.spans) > LINE_SPANS or sum(span.style is Style.LINK for span in line.spans) > 1:
        yield f"a line of a digest has one link and {LINE_SPANS} formatted parts at most"


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(autoescape=True, trim_blocks=True, lstrip_blocks=True)


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    return _environment().from_string(source)
