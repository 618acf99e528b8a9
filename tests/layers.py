"""The layers of embedq, in one list: tests/test_architecture.py checks every import by it, and
docs/architecture.md has its diagram.

    python -m tests.layers       # writes the diagram into docs/architecture.md
"""

from __future__ import annotations

from pathlib import Path

ARCHITECTURE = Path(__file__).parent.parent / "docs" / "architecture.md"

# From the top down, a floor a line. What stands on a floor may import what stands on those below it, and nothing that
# stands beside it. A name is a folder of embedq/, or a file of its root.
LAYERS: list[tuple[str, str]] = [
    ("contrib  __main__", "web frameworks, a module each; `python -m embedq`"),
    ("cli", "the command line"),
    ("dashboard  testing", "the web app, mounted in others or by itself; for tests of apps"),
    ("__init__", "the functions of `import embedq`, on one default app"),
    ("app", "`EmbedQ`: puts the parts of an app together"),
    ("operations  doctor", "look at a queue, act on it, copy it; what is wrong with it"),
    ("engine", "the parts of an app: its life in this process, and its verbs"),
    ("worker  maintenance", "threads and processes that run jobs; threads for heartbeats, rescue, cron, pruning"),
    ("storage", "functions over a transaction; a folder for each database"),
    ("serializers", "arguments and results as JSON"),
    ("tasks", "functions as jobs: names, signatures, options, retries"),
    ("process", "the process around embedq, and the threads in it"),
    ("observability", "logs, and what else embedq reports about itself"),
    ("display  scheduling", "stored values as text for people; when recurring jobs are due"),
    ("config", "the settings"),
    ("flow", "how much may run at a time"),
    ("errors  clock  job  version", "what everything stands on"),
]


def level_of(module: str) -> int:
    """The floor that a module stands on, by its name without `embedq.`; 0 is the top."""
    top = module.partition(".")[0]
    for level, (rooms, _) in enumerate(LAYERS):
        if top in rooms.split():
            return level
    raise AssertionError(f"embedq/{top} is on no floor; add it to LAYERS, then: python -m tests.layers")


def diagram() -> str:
    """The list as it stands in the page."""
    width = max(len(rooms) for rooms, _ in LAYERS) + 4
    return "\n".join(["```text", *(f"{rooms:{width}}{words}" for rooms, words in LAYERS), "```"])


def written(page: str) -> str:
    """The page with the diagram as it is now."""
    before, heading, rest = page.partition("\n## Layers\n")
    assert heading, f"{ARCHITECTURE} has no section Layers"
    text, _, rest = rest.partition("```text\n")
    return before + heading + text + diagram() + rest.partition("\n```")[2]


if __name__ == "__main__":
    ARCHITECTURE.write_text(written(ARCHITECTURE.read_text(encoding="utf-8")), encoding="utf-8")
