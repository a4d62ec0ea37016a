"""Makes `benchmarks` importable, and nothing else: the root stays off the path (pyproject.toml)."""

import importlib.util
import sys
from pathlib import Path

if "benchmarks" not in sys.modules:
    _HOME = Path(__file__).parent.parent / "benchmarks"
    _SPEC = importlib.util.spec_from_file_location(
        "benchmarks", _HOME / "__init__.py", submodule_search_locations=[str(_HOME)]
    )
    assert _SPEC is not None
    assert _SPEC.loader is not None
    sys.modules["benchmarks"] = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(sys.modules["benchmarks"])
