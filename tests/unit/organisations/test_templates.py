"""Templates: every problem is said when one is saved, and what passes can do no harm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.domain.organisations import templates
from switchboard.domain.organisations.markup import MOST_UNITS, Span, Style

VALUES = {"number": "7/А", "title": "<b>Договор</b> & {{ link }}", "link": "https://x.example/?a=1&b=2"}


def test_values_stand_in_the_message_as_they_are() -> None:
    assert templates.problems("№ {{ number }}: {{ title }}") == []
    assert templates.render("№ {{ number }}: {{ title }}", VALUES).text == "№ 7/А: <b>Договор</b> & {{ link }}"
    linked = templates.render('<a href="{{ link }}">{{ number }}</a>', VALUES)
    assert linked.spans == (Span(Style.LINK, 0, 3, "https://x.example/?a=1&b=2"),)


def test_a_link_value_cannot_leave_its_attribute() -> None:
    found = templates.render('<a href="{{ link }}">x</a>', {"link": 'https://x.example/"><b>'})
    assert [span.style for span in found.spans] == [Style.LINK]


def test_conditions_and_filters_work() -> None:
    source = '{% if title %}<b>{{ title }}</b>\n{% endif %}№ {{ number|upper }} {{ title|default("-", true) }}'
    assert templates.problems(source) == []
    assert templates.render(source, {"number": "a1"}).text == "№ A1 -"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{ number }} {{ titel }}", "line 1: there is no placeholder titel; did you mean title?"),
        ("{{ zzz }}", "there is no placeholder zzz; there are number"),
        ("\n{{ number|safe }}", "line 2: there is no filter safe here"),
        ("{% for x in number %}x{% endfor %}", "line 1: {% for %} is not allowed"),
        ("{{ number.__class__ }}", "line 1: a dot behind a value is not allowed"),
        ("{{ number() }}", "line 1: a call is not allowed"),
        ("{{ 'a' * 1000000000 }}", "line 1: arithmetic is not allowed"),
        ("{% set x = 1 %}x", "{% set %} is not allowed"),
        ("{% include 'x' %}", "{% include %} is not allowed"),
        ("{{ number", "line 1: "),
        ("{% if title %}x", "line 1: "),
        ("<b>{{ number }}", "<b> is never ended"),
        ("{% if title %}{{ title }}{% endif %}", "would be empty"),
        ("x" * (templates.MOST_SOURCE_CHARS + 1), "more than 8000 characters"),
        ("{{ number }} " + "x" * MOST_UNITS, f"{MOST_UNITS} fit in one"),
        ("{{ link }}{{ link }}{{ link }}", f"{MOST_UNITS} fit in one"),
        ("{{ 1|upper }}", "filters stand behind a placeholder"),
        ("{{ title|trim(5) }}", "filters stand behind a placeholder"),
        ('{{ title|truncate("x") }}', "filters stand behind a placeholder"),
        ("{{ title|truncate(2) }}", "filters stand behind a placeholder"),
        ("{{ title|truncate(*number) }}", "filters stand behind a placeholder"),
        ("{{ title|default(5)|truncate(9) }}", "filters stand behind a placeholder"),
        ("{{ number < 5 }}", "line 1: placeholders and texts are compared"),
        ("{{ number in 5 }}", "line 1: placeholders and texts are compared"),
        ("{{ number }}\x00", "character 13 is U+0000"),
        ("{{ " + "(" * 3_000 + "number" + ")" * 3_000 + " }}", "too many conditions or brackets"),
        ("{% if number %}" * 150 + "x" + "{% endif %}" * 150, "too many conditions or brackets"),
        ("{{ number }}" + "<b>x</b> " * 101, "the message has 101 formatted parts, Telegram shows 100"),
    ],
)
def test_a_wrong_template_is_told_where_and_why(source: str, complaint: str) -> None:
    assert any(complaint in problem for problem in templates.problems(source)), templates.problems(source)


def expressions() -> st.SearchStrategy[str]:
    names = st.sampled_from(["number", "title", "link", '"x"', "5", "true"])
    filters = [
        "upper",
        "trim",
        "trim(5)",
        "default(title)",
        "default(5, 1)",
        "truncate",
        "truncate(3)",
        "truncate(title)",
    ]
    return st.recursive(
        names,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(filters)).map("({0[0]}|{0[1]})".format),
            st.tuples(inner, st.sampled_from(["<", "==", "in", "and", "or", ">="]), inner).map(
                "({0[0]} {0[1]} {0[2]})".format
            ),
            st.tuples(inner, inner, inner).map("({0[0]} if {0[1]} else {0[2]})".format),
            st.tuples(inner, inner).map("({0[0]} if {0[1]})".format),
            inner.map("(not {})".format),
        ),
        max_leaves=6,
    )


@settings(max_examples=150, deadline=None)
@given(expressions(), st.dictionaries(st.sampled_from(["number", "title", "link"]), st.text(max_size=8)))
def test_what_may_be_stored_can_be_written_with_any_values(expression: str, values: dict[str, str]) -> None:
    source = f"{{% if title %}}{{{{ {expression} }}}}{{% endif %}}{{{{ number }}}}"
    if not templates.faults(source):
        templates.written(source, values)
        templates.written(source, {**values, "title": "x"})


def test_filters_and_comparisons_of_text_may_be_stored() -> None:
    for source in (
        "{{ number }}{{ title|truncate(20, true) }}{{ title|truncate }}{{ title|default(number)|upper }}",
        '{{ number }}{% if "Lease" in title or number == 5 or title > "b" %}x{% endif %}',
        '{{ ("a" if title else number)|upper }}',
    ):
        assert templates.problems(source) == []


def test_a_hundred_formatted_parts_may_be_stored() -> None:
    assert templates.problems("{{ number }}" + "<b>x</b> " * 100) == []


def test_every_problem_is_said_at_once() -> None:
    found = templates.problems("{{ a1 }}\n{{ b2|safe }}\n{% for x in y %}{{ x }}{% endfor %}")
    assert [line.partition(":")[0] for line in found] == ["line 1", "line 2", "line 2", "line 3"]


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        (
            "{{ foo }}\n{% for x in y %}{{ x }}",
            ["line 1: there is no placeholder foo", "line 2: {% for %} is not allowed"],
        ),
        ("{% foo %}", ["line 1: {% foo %} is not allowed"]),
        ("{{ titel }}\n{{ number", ["line 1: there is no placeholder titel", "line 2: unexpected end of template"]),
        ("{% if foo %}x", ["line 1: there is no placeholder foo", "line 1: Unexpected end of template"]),
        (
            "{% for x in y %}{{ x }}{% endfor %}\n{{ titel }}{% if title %}",
            ["line 1: {% for %}", "line 2: there is no placeholder titel", "line 2: Unexpected end of template"],
        ),
        ("{{ a b }}\n{{ number|safe }}", ["line 2: there is no filter safe", "line 1: expected token"]),
        ("{% raw %}{{ foo }}{% endraw %}{% if title %}", ["line 1: Unexpected end of template"]),
        ("{{ " + "(" * 60 + "number" + ")" * 60 + " }}{% if", ["line 1: unexpected 'end of template'"]),
    ],
)
def test_every_problem_is_said_of_what_cannot_be_read_as_a_whole(source: str, complaints: list[str]) -> None:
    found = templates.problems(source)
    assert len(found) == len(complaints), found
    assert all(said.startswith(complaint) for said, complaint in zip(found, complaints, strict=True)), found


@given(st.lists(st.sampled_from(["{{", "}}", "{%", "%}", "if", "for", "endfor", "x", "title", "|", "(", "\n", " "])))
def test_anything_written_is_answered_with_sentences(parts: list[str]) -> None:
    source = " ".join(parts)
    assert all(isinstance(problem, str) and problem for problem in templates.problems(source))


def test_a_link_without_a_value_is_text_and_not_an_error() -> None:
    source = '{{ number }} <a href="{{ link }}">open</a>'
    assert templates.problems(source) == []
    found = templates.render(source, {"number": "7"})
    assert (found.text, found.spans) == ("7 open", ())
