"""Certificates of an authority of our own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder.

    Attributes:
        certificate: of the authority, which clients trust.
    """

    home: Path
    certificate: Path

    @classmethod
    def founded(cls, home: Path, name: str = "ours") -> Authority:
        certificate = home / f"{name}.pem"
        subject = ["-subj", f"/CN={name}", "-days", "2"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", home / f"{name}.key"]
        _openssl("req", "-x509", *key, "-out", certificate, *subject)
        return cls(home, certificate)

    def issued(self, name: str = "127.0.0.1") -> dict[str, str]:
        """A server's directives for TLS with a certificate that this authority signed for an address."""
        key, asked, given = (self.home / f"{name}.{end}" for end in ("key", "csr", "pem"))
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        alternative = ["-addext", f"subjectAltName=IP:{name},DNS:localhost"]
        _openssl("req", *curve, "-keyout", key, "-out", asked, "-subj", f"/CN={name}", *alternative)
        signer = ["-CA", self.certificate, "-CAkey", self.certificate.with_suffix(".key"), "-CAcreateserial"]
        _openssl("x509", "-req", "-in", asked, *signer, "-out", given, "-days", "2", "-copy_extensions", "copy")
        files = {"tls-cert-file": str(given), "tls-key-file": str(key), "tls-ca-cert-file": str(self.certificate)}
        return {**files, "tls-auth-clients": "no"}


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
