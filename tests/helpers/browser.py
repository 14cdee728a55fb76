"""A page in a real browser, where there is one: a page of the test's own frames it and says what it saw in it."""

import functools
import json
import os
import shutil
import signal
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
    "--hide-scrollbars",
)


def look(site, frames, tmp_path):
    """Open a page in Chromium and return what it posts to ``found``, what was requested, and the console's lines.

    Parameters
    ----------
    site : folder to serve, in which the page is written as frames.html.
    frames : the page's text.
    tmp_path : for what the browser needs.
    """
    (site / "frames.html").write_text(frames)
    requests, found, is_found = [], [], threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            requests.append(self.path)

        def do_POST(self):
            found.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            is_found.set()

    log = tmp_path / "log"
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/frames.html"
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", address]
        with log.open("w") as file:
            # In a session of its own, so that what it has started ends with it.
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            assert is_found.wait(120), log.read_text()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            server.shutdown()
    return found, set(requests), [line for line in log.read_text().splitlines() if "CONSOLE" in line]
