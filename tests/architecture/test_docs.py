"""The documentation says what is so: generated pages, links, and every command it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.__main__ import BENCHMARKS
from docs.generate import commands
from tests.servers import ROOT

DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    return [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(DOCS.rglob("*.md"))]


def links(page: Path) -> Iterator[tuple[str, Path]]:
    """The relative links of a page, each with the file it leads to."""
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:|#", target):
            yield target, (page.parent / target.partition("#")[0]).resolve()


def test_every_relative_link_leads_to_a_file() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}" for page in pages() for target, path in links(page) if not path.exists()
    ]
    assert broken == []


def test_every_link_to_a_heading_finds_it() -> None:
    broken = []
    for page in pages():
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            name, hash_sign, anchor = target.partition("#")
            if hash_sign and ":" not in name:
                path = (page.parent / name).resolve() if name else page
                if anchor not in headings(path):
                    broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def headings(page: Path) -> set[str]:
    """The anchors of a page, as hosts of repositories make them."""
    found = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_file_of_the_documentation_can_be_reached_from_its_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_relative_to(DOCS):
            continue
        reached.add(page)
        if page.suffix == ".md" and page.exists():
            waiting.extend(path for _, path in links(page))
    written = {path for path in DOCS.rglob("*") if path.suffix == ".md"}
    assert written - reached == set()


def test_every_documented_command_exists() -> None:
    known = {words for words, _ in commands()}
    groups = {words[:-1] for words in known}
    unknown = []
    for page in pages():
        for line in re.findall(r"python -m switchboard ([a-z][^\n`]*)", page.read_text(encoding="utf-8")):
            words = tuple(re.match(r"(?:[a-z]+(?:-[a-z]+)* ?)*", line)[0].split())  # type: ignore[index]  # it matches the empty text too
            if words[:1] not in known or (words[:1] in groups and words[:2] not in known):
                unknown.append(f"{page.relative_to(ROOT)}: {line}")
    assert unknown == []


def test_every_documented_make_target_and_benchmark_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in pages():
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets, page
        assert set(re.findall(r"python -m benchmarks ([a-z_]+)", text)) <= set(BENCHMARKS), page


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path)}
    checked = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, f"{checked.stdout}{checked.stderr}\nWrite them anew: python -m docs.generate"


def test_the_documentation_names_no_path_of_anybodys_machine() -> None:
    for page in pages():
        assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", page.read_text(encoding="utf-8")), page
