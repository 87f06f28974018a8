"""Hooks of mkdocs that add the generated pages to the site."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# mkdocs loads this file by its path, not as part of a package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.reference import pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
