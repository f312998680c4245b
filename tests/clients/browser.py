"""A page in Chromium: `browser.py URL TOKEN PORT`. The page is served on this port of loopback, whose origin the server
allows; then the same page on another port, whose origin it does not."""

import asyncio
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.parse

from common import Facts

URL, TOKEN, PORT = sys.argv[1:4]
PAGE = (pathlib.Path(__file__).resolve().parent / "browser.html").read_bytes()
# The page alone is reached, and the browser asks nobody else for anything.
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--proxy-server=direct://",
]


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves the page, and takes what it tells."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self):
        self.server.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.has_told.set()

    def log_message(self, *_):
        pass


def show(port):
    """What the page tells that is served on this port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Pages)
    server.has_told = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/#{urllib.parse.quote(f'{URL} {TOKEN}')}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = ["chromium", *OPTIONS, f"--user-data-dir={folder}", address]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            if not server.has_told.wait(60):
                raise AssertionError("the page told nothing in a minute")
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
    return server.told


async def main():
    facts = Facts()
    try:
        told = show(int(PORT))
    except (OSError, AssertionError) as error:
        told = {"send": repr(error), "stream": repr(error)}
    for name, expected in (("send", "hello"), ("stream", "onetwo")):
        async with facts.fact(name):
            facts.expect(told[name] == expected, f"{told[name]!r}")
    async with facts.fact("refused"):
        told = show(0)
        facts.expect(all(word.startswith("TypeError") for word in told.values()), f"{told!r}")


asyncio.run(main())
