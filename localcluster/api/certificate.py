"""A certificate for 127.0.0.1: kubectl sends its token over TLS only."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from localcluster.api.private_file import write_private

CERTIFICATE = "server.crt"
_BOTH = "server.pem"
_VALID = timedelta(days=730)
_RENEW_BEFORE_END = timedelta(days=30)


def server_context(folder: Path) -> ssl.SSLContext:
    """What a server in this folder speaks TLS with; its certificate is made when there is none that lasts.

    Clients trust it by `server.crt` in the folder. The key is in a file of its owner's alone.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not _lasts(folder):
        _make(folder)
    context.load_cert_chain(folder / _BOTH)
    return context


def _lasts(folder: Path) -> bool:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        both = (folder / _BOTH).read_bytes()
    except (FileNotFoundError, ValueError):
        return False
    end = certificate.not_valid_after_utc
    return (folder / CERTIFICATE).read_bytes() in both and end - datetime.now(UTC) > _RENEW_BEFORE_END


def _make(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "laptop cluster")])
    begin = datetime.now(UTC) - timedelta(minutes=5)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    uses = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    # It signs itself, and no other: what trusts it as an authority trusts this server alone.
    certificate = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number(), begin, begin + _VALID)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=False, decipher_only=False, **uses),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    public_pem = certificate.public_bytes(serialization.Encoding.PEM)
    private_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(folder / _BOTH, private_pem + public_pem)
    write_private(folder / CERTIFICATE, public_pem)
