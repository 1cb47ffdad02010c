"""Certificates and tokens for the registries of tests, made by openssl."""
import base64
import json
import subprocess
import time

from instance import sh


class Authority:
    """A certificate authority, a certificate of it for names ("IP:127.0.0.1", "DNS:registry.example"), and a signature for tokens."""

    def __init__(self, folder, *names):
        self.key, self.certificate = folder / "ca.key", folder / "ca.pem"
        self.server_key, self.server_certificate = folder / "server.key", folder / "server.pem"
        (folder / "names").write_text("subjectAltName=" + ",".join(names))
        sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authority of a test", "-days", "2", "-keyout",
           str(self.key), "-out", str(self.certificate))
        sh("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=registry", "-keyout",
           str(self.server_key), "-out", str(folder / "request"))
        sh("openssl", "x509", "-req", "-in", str(folder / "request"), "-CA", str(self.certificate), "-CAkey", str(self.key),
           "-CAcreateserial", "-days", "2", "-extfile", str(folder / "names"), "-out", str(self.server_certificate))
        self.certificate.chmod(0o644)

    def sign(self, claims):
        def part(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        chain = "".join(self.certificate.read_text().splitlines()[1:-1])
        now = int(time.time())
        claims = dict(claims, iss="issuer", aud="here", iat=now, nbf=now - 10, exp=now + 300, jti="1")
        text = b".".join(part(json.dumps(d).encode()) for d in ({"typ": "JWT", "alg": "RS256", "x5c": [chain]}, claims))
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text, capture_output=True, check=True)
        return (text + b"." + part(signed.stdout)).decode()
