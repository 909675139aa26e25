from pathlib import Path

import pytest
import trustme

from antiphon.runtime.certificate import Certificate
from antiphon.runtime.errors import ConfigurationError


@pytest.fixture
def issued(tmp_path: Path) -> trustme.LeafCert:
    found = trustme.CA().issue_cert("console.example.org")
    found.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    found.private_key_pem.write_to_path(tmp_path / "key.pem")
    found.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    return found


def test_a_certificate_and_its_key_can_be_used(issued: trustme.LeafCert, tmp_path: Path) -> None:
    """In two files or in one."""
    Certificate(chain=tmp_path / "cert.pem", key=tmp_path / "key.pem").check()
    Certificate(chain=tmp_path / "both.pem").check()


def test_what_cannot_be_used_is_said(issued: trustme.LeafCert, tmp_path: Path) -> None:
    """No such file, no certificate, no key, somebody else's key, a key that would be asked for: never a question at
    the terminal."""
    from cryptography.hazmat.primitives import serialization

    (tmp_path / "text.pem").write_text("no certificate")
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(tmp_path / "other.pem")
    plain = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for chain, key in (
        ("nowhere.pem", None),
        ("text.pem", None),
        ("cert.pem", None),
        ("cert.pem", "other.pem"),
        ("cert.pem", "locked.pem"),
    ):
        with pytest.raises(ConfigurationError, match=r"cannot be used as a certificate \(.+\): expected PEM files"):
            Certificate(chain=tmp_path / chain, key=None if key is None else tmp_path / key).check()
