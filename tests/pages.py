"""The pages of the documentation, README.md among them, and the blocks of code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")
_BLOCK = re.compile(
    r"^(?P<before>.*)\n(?:\n)?(?P<indent> *)```(?P<language>\w*)(?P<info>.*)\n(?P<code>(?:.*\n)*?)(?P=indent)```$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """Some code of a page.

    Args:
        language: after the opening fence.
        file_name: of its title; empty where it has none.
        code: what stands in it.
        not_run: why it cannot run; empty where it can.
        line: of the page, from 1, for messages.
    """

    language: str
    file_name: str
    code: str
    not_run: str
    line: int

    @property
    def command_lines(self) -> list[str]:
        """What is typed, a command each, without comments."""
        whole = self.code.replace("\\\n", " ")
        return [line for line in whole.splitlines() if shlex.split(line, comments=True)]


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        """Fenced blocks, in order."""
        return [
            Block(
                language=found["language"],
                file_name=title[1] if (title := re.search(r'title="([^"]+)"', found["info"])) else "",
                code=found["code"],
                not_run=reason[1] if (reason := NOT_RUN.fullmatch(found["before"].strip())) else "",
                line=self.text.count("\n", 0, found.start()) + 2,
            )
            for found in _BLOCK.finditer(f"\n{self.text}")
        ]

    @cached_property
    def prose(self) -> str:
        """All but the fenced blocks."""
        return _BLOCK.sub(lambda found: found["before"], f"\n{self.text}")

    @cached_property
    def inline(self) -> list[str]:
        """Text between single backticks."""
        return re.findall(r"`([^`\n]+)`", self.prose)

    @property
    def command_lines(self) -> list[str]:
        """ctuq's commands in blocks and in the text."""
        in_blocks = [line for block in self.blocks if block.language == "sh" for line in block.command_lines]
        return [line for line in in_blocks + self.inline if re.match(r"ctuq [a-z]", line)]


README = Page(ROOT / "README.md")
PAGES = [README, *map(Page, sorted((ROOT / "docs").rglob("*.md")))]
