"""Progress: with rich where it is installed and somebody watches, in plain lines otherwise."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARKS = {"ok": "ok", "failed": "FAILED", "not run": "not run"}
LINES_OF_A_MESSAGE = 12


class Screen:
    """One line per part, and while it runs, what it is at."""

    def __init__(self) -> None:
        self.console: Any = None
        try:
            from rich.console import Console
        except ImportError:
            return
        if sys.stdout.isatty():
            self.console = Console(highlight=False)

    def say(self, text: str) -> None:
        if self.console:
            self.console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)

    @contextmanager
    def part(self, name: str, what: str) -> Iterator[Callable[[str], None]]:
        """Yields what shows how far the part is."""
        if self.console is None:
            print(f"{name}: {what}", flush=True)
            yield lambda text: None
            return
        with self.console.status(f"{name}: {what}") as status:
            yield lambda text: status.update(f"{name}: {text}")

    def ended(self, name: str, status: str, seconds: float, message: str) -> None:
        self.say(f"{name:<17}{MARKS[status]:<8}{seconds:6.1f} s")
        for line in message.splitlines()[:LINES_OF_A_MESSAGE]:
            self.say(f"    {line}")

    @contextmanager
    def watching(self, lines: Path, say: Callable[[str], None]) -> Iterator[None]:
        """While a worker writes its lines, show the latest case."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.3):
                say(latest(lines))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def latest(lines: Path) -> str:
    """What the worker is at."""
    try:
        text = lines.read_text().splitlines()
        begun = [json.loads(line)["begin"] for line in text if line.startswith('{"begin"')]
    except (OSError, ValueError):
        return "starting"
    return f"{len(begun)}. {begun[-1]}" if begun else "starting"
