"""What the site (`nox -s docs`) has beyond the files of this directory.

mkdocs calls the functions, griffe the class. Pages are written for the repository, where links lead
to files: those that leave `docs/` lead to pages that are made here.
"""

from __future__ import annotations

import logging
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from griffe import Attribute, Class, Extension, Function, Module, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from typer.core import TyperGroup

import asyncq
from asyncq.cli.main import app

_log = logging.getLogger("mkdocs.hooks.site")

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CHANGELOG = "changelog.md"
COMMANDS = "reference/command-line.md"

_ASKED = re.compile(
    r"""(?:\bsrc=|<link\ rel="(?!canonical|prev|next)[^>]*\bhref=|\burl\()["']?
        ((?:https?:)?//[^"'\s>]+)""",
    re.VERBOSE,
)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_EXAMPLE = re.compile(r"^ {4}.*(?:\n+ {4}.*)*$\n?", re.MULTILINE)
_NAME = re.compile(r"(?<![`\[])`(\w+(?:\.\w+)*)`(?!`)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the changelog and a page for each example."""
    files.append(File.generated(config, CHANGELOG, content=(ROOT / "CHANGELOG.md").read_text()))
    for example in sorted(path for path in EXAMPLES.iterdir() if path.is_dir()):
        page = File.generated(config, f"examples/{example.name}.md", content=_listing(example))
        files.append(page)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between pages instead of files; the commands on their page."""
    here = page.file.src_uri
    in_repository = "" if here == CHANGELOG else posixpath.join("docs", posixpath.dirname(here))

    def on_site(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(in_repository, link[1]))
        return posixpath.relpath(_on_site(place), posixpath.dirname(here) or ".")

    text = _LINK.sub(on_site, markdown)
    return "\n\n".join([text, *_commands()]) if here == COMMANDS else text


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Pages ask no other host for anything."""
    for asked in _ASKED.findall(output):
        _log.warning("'%s' asks another host: %s", page.file.src_uri, asked)
    return output


def _on_site(place: str) -> str:
    """The path on the site of what has this path in the repository."""
    if place == "CHANGELOG.md":
        return CHANGELOG
    if place.startswith("examples/"):
        return f"examples/{place.split('/')[1]}.md"
    return place.removeprefix("docs/") if place.startswith("docs/") else f"../{place}"


def _listing(example: Path) -> str:
    parts = [f"# Example: {example.name}", f"The files of `examples/{example.name}`."]
    for file in sorted(example.glob("*.py")):
        parts.append(f"## {file.name}\n\n```python\n{file.read_text().strip()}\n```")
    return "\n\n".join(parts)


def _commands() -> Iterator[str]:
    """What `--help` says of each command."""
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        if not isinstance(command, TyperGroup):
            yield _command(f"asyncq {name}", command)
            continue
        for part, inner in command.commands.items():
            if not inner.hidden:
                yield _command(f"asyncq {name} {part}", inner)


def _command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    return str(get_docs_for_click(obj=command, ctx=context, indent=1, name=name)).strip()


class ForReaders(Extension):
    """Makes of the source what a reader of the reference wants to see."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Without arguments that are for asyncq's own tests."""
        for argument in [one.name for one in func.parameters if one.name.startswith("_")]:
            del func.parameters[argument]

    def on_attribute(self, *, attr: Attribute, **_: Any) -> None:
        """Without how it comes about; the values of an enumeration are what it is."""
        attr.labels -= {"class-attribute", "instance-attribute", "module-attribute"}
        if isinstance(attr.parent, Class) and "enum" not in str(attr.parent.bases).lower():
            attr.value = None

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """In docstrings public names are links, and examples have colours."""
        if obj.docstring is not None:
            package = obj.package
            text = _NAME.sub(lambda name: _linked(name, package), obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub(_fenced, text)


def _fenced(example: re.Match[str]) -> str:
    code = textwrap.dedent(example[0]).strip()
    is_picture = "──" in code
    return example[0] if is_picture else f"```python\n{code}\n```\n"


def _linked(name: re.Match[str], package: Module) -> str:
    if name[1].split(".")[0] not in asyncq.__all__:
        return name[0]
    try:
        package[name[1]]
    except KeyError:
        return name[0]
    return f"[{name[0]}][asyncq.{name[1]}]"
