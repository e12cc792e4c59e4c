"""Certificates are verified, and a request whose time is over is given up at the server too."""

import asyncio
import datetime
import ipaddress
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from servers import ask, completion, pointing

from hydata.errors import TransientModelError
from hydata.models import open_models

ASK = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from servers import ask, pointing
from hydata.models import open_models, run

async def main():
    async with open_models(pointing(sys.argv[1], attempts=1), Path(sys.argv[2])) as models:
        print((await models.complete(models.route("critic", "x"), ask())).text)

run(main())
"""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_certificate_nobody_vouches_for_is_refused_and_one_that_is_trusted_works(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(completion("Sealed."))

    async def main() -> str:
        application = web.Application()
        application.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with open_models(pointing(url, attempts=1), tmp_path / "j") as models:
            with pytest.raises(TransientModelError, match="certificate"):
                await models.complete(models.route("critic", "x"), ask())
        program = ASK.format(here=str(Path(__file__).parent))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, url, str(tmp_path / "j")),
            env={"SSL_CERT_FILE": str(cert)},
            stdout=subprocess.PIPE,
        )
        said, _ = await process.communicate()
        await runner.cleanup()
        return said.decode()

    assert asyncio.run(main()) == "Sealed.\n"


def test_a_request_whose_time_is_over_ends_at_the_server(tmp_path: Path) -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            seen.append("begun")
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                seen.append("hung up")
                raise
            return web.json_response(completion())

        application = web.Application()
        application.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}/v1".format(*runner.addresses[0][:2])
        async with open_models(pointing(url, timeout=0.2, attempts=1), tmp_path / "j") as models:
            with pytest.raises(TransientModelError, match="no answer"):
                await models.complete(models.route("critic", "x"), ask())
            await until(lambda: len(seen) > 1)
        await runner.cleanup()
        return seen

    assert asyncio.run(main()) == ["begun", "hung up"]


async def until(true: Callable[[], bool]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
