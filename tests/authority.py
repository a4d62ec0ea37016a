"""Certificates for the tests, and the private authority that signs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """A private authority, whose certificate is the file `ca`. Skips the test where there is no
    openssl."""

    def __init__(self, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("no openssl here to make certificates with")
        self._openssl = openssl
        self._directory = directory
        self._key = directory / "ca.key"
        self.ca = directory / "ca.pem"
        # Python from 3.13 on takes none that does not say what its key is for.
        self._run("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.ca, "-days", 2,
                  "-subj", "/CN=a private authority", "-addext", f"keyUsage={_SIGNS}")  # fmt: skip

    def sign(self, name: str, days: int = 2) -> tuple[Path, Path]:
        """A certificate for the host of this name, good for so many days, and its key."""
        cert, key, request, more = (
            self._directory / f"{name}.{end}" for end in ("pem", "key", "csr", "ext")
        )
        more.write_text(f"subjectAltName=DNS:{name}\nauthorityKeyIdentifier=keyid\n")
        self._run("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        self._run("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key,
                  "-CAcreateserial", "-extfile", more, "-days", days, "-out", cert)  # fmt: skip
        return cert, key

    def _run(self, *arguments: str | int | Path) -> None:
        command = [self._openssl, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_SIGNS = "critical,keyCertSign"
