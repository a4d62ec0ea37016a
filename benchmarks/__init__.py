"""How fast asyncq is, and its rivals in the same run: `python -m nox -s bench`."""
