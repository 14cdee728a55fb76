"""The page in a real browser, where there is one: nothing is fetched or wrong, nothing too wide, audio plays."""

import functools
import json
import os
import shutil
import signal
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lid_mapmix.apps import cli

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
    "--hide-scrollbars",
)
# It frames the page in the widths of a telephone and a desk, and looks into the frames once all is loaded.
FRAMES = """\
<!doctype html><link rel="icon" href="data:,"><body>
<iframe src="report.html" style="width:400px;height:3000px;border:0"></iframe>
<iframe src="report.html" style="width:1440px;height:3000px;border:0"></iframe>
<script>
const heard = source => new Promise(done => {
  const audio = new Audio(source);
  audio.onloadedmetadata = () => done(audio.duration);
  audio.onerror = () => done(null);
});
const visible = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0; };
window.onload = async () => {
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument;
    found.push({
      asked: frame.clientWidth,
      width: page.documentElement.scrollWidth,
      fetched: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name)
        .filter(name => !name.startsWith("data:")),
      pictures: [...page.querySelectorAll("svg[role=img]")].map(visible),
      seconds: await Promise.all([...page.querySelectorAll("audio")].map(audio => heard(audio.src))),
      ran: typeof frame.contentWindow.hacked !== "undefined",
    });
  }
  fetch("found", {method: "POST", body: JSON.stringify(found)});
};
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_the_page(hostile_run, tmp_path):
    assert cli.main(["report", str(hostile_run), "--out", str(tmp_path / "site/report.html")]) == 0
    (tmp_path / "site/frames.html").write_text(FRAMES)
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
    site = functools.partial(Handler, directory=tmp_path / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), site) as server, log.open("w") as log_file:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/frames.html"
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", address]
        # In a session of its own, so that what it has started ends with it.
        process = subprocess.Popen(command, stdout=log_file, stderr=log_file, start_new_session=True)
        try:
            assert is_found.wait(120), log.read_text()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            server.shutdown()
    assert not [line for line in log.read_text().splitlines() if "CONSOLE" in line]
    assert set(requests) == {"/frames.html", "/report.html", "/found"}
    assert [frame["asked"] for frame in found] == [400, 1440]
    for frame in found:
        assert frame["width"] == frame["asked"], "the page is wider than its window"
        assert frame["fetched"] == [] and not frame["ran"]
        assert len(frame["pictures"]) == 9 and all(frame["pictures"])
        assert len(frame["seconds"]) == 12
        assert all(0.9 < seconds < 1.3 for seconds in frame["seconds"])
