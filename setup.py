"""The README as a package index shows it. Everything else about the package is in pyproject.toml.

On an index a relative link leads nowhere. Where pyproject.toml names a repository, the links and the picture get
absolute addresses there; as long as it names none, a link becomes its text and the path of the file.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent


def readme(repository: str | None) -> str:
    """README.md without relative links. `repository`: an address such as `https://host/owner/embedq`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if repository:
        text = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", rf"\1{repository}/raw/main/", text)
        return re.sub(r"(\]\()(?!https?:|#)", rf"\1{repository}/blob/main/", text)
    text = re.sub(r"!\[([^]]*)\]\((?!https?:)[^)]*\)\n*", "", text)
    return re.sub(r"\[([^]]*)\]\((?!https?:|#)([^)#]*)[^)]*\)", link_as_text, text)


def link_as_text(link: re.Match[str]) -> str:
    """A link's text and, unless that is the same, the file that it leads to."""
    text, path = link[1], link[2]
    return f"`{path}`" if text == path else f"{text} (`{path}`)"


if __name__ == "__main__":
    from setuptools import setup

    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    setup(long_description=readme(urls.get("Repository")), long_description_content_type="text/markdown")
