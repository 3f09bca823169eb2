"""Execution of a notebook, and its page.

    python -m sitepages.notebook docs/notebook.ipynb

executes it with Jupyter's kernel, from top to bottom, and writes its outputs into it.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIMIT = 600  # seconds that a cell may take
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def executed(file: Path, folder: Path) -> Any:
    """Return a notebook with the outputs of an execution from top to bottom.

    Args:
        file: The notebook.
        folder: Folder in which it is executed; what it writes stays there.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises an exception.
    """
    import nbformat  # of the extra `dev`; the pages need none of these
    from nbclient import NotebookClient
    from traitlets.config import Config

    found = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:  # no port is opened
        kernel = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        client = NotebookClient(
            found,
            timeout=LIMIT,
            startup_timeout=LIMIT,  # a busy machine takes more than the usual minute
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            config=Config({"KernelManager": kernel}),
        )
        client.execute()
    for cell in found.cells:
        cell.metadata.pop("execution", None)  # the times of day, which differ each time
        if cell.cell_type == "code":  # what libraries say about the terminal and the machine
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return found


def pages(file: Path) -> dict[str, str | bytes]:
    """Return the page of a notebook, and its pictures, by path below the folder of the documentation."""
    found: dict[str, str | bytes] = {}
    parts = []
    for n, cell in enumerate(json.loads(file.read_text(encoding="utf-8"))["cells"]):
        text = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif cell["cell_type"] == "code":
            parts.append(f"```python\n{text}\n```")
            for m, (kind, content) in enumerate(_outputs(cell)):
                if kind == "text":
                    parts.append(f"```text\n{content}\n```")
                else:
                    name = f"{file.stem}-{n}-{m}.png"
                    found[name] = base64.b64decode(content)
                    parts.append(f"![Output of the cell above]({name})")
    found[f"{file.stem}.md"] = "\n\n".join(parts) + "\n"
    return found


def _outputs(cell: Any) -> Iterator[tuple[str, str]]:
    """Yield the outputs of a cell: ("text", what it printed) or ("png", the picture)."""
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield "png", "".join(data["image/png"])
        elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
            yield "text", _ANSI.sub("", text)


def main() -> None:
    """Execute the notebook that the command line names, and write its outputs into it."""
    parser = argparse.ArgumentParser(description="Execute a notebook and write its outputs into it.")
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        found = executed(file, Path(folder))
    nbformat.write(found, file)


if __name__ == "__main__":
    main()
