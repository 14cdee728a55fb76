"""The page in a real browser, where there is one: nothing is fetched or wrong, nothing too wide, audio plays."""

import functools
import html
import json
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lid_mapmix.apps import cli

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom"),
    "--hide-scrollbars",
    "--virtual-time-budget=20000",
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
  document.body.textContent = JSON.stringify(found);
};
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_the_page(hostile_run, tmp_path):
    assert cli.main(["report", str(hostile_run), "--out", str(tmp_path / "site/report.html")]) == 0
    (tmp_path / "site/frames.html").write_text(FRAMES)
    requests = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "site")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/frames.html"
        process = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", address],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        server.shutdown()
    assert not [line for line in process.stderr.splitlines() if "CONSOLE" in line]
    assert set(requests) == {"/frames.html", "/report.html"}
    frames = json.loads(html.unescape(re.search(r"<body>(.*)</body>", process.stdout, re.DOTALL)[1]))
    assert [frame["asked"] for frame in frames] == [400, 1440]
    for frame in frames:
        assert frame["width"] == frame["asked"], "the page is wider than its window"
        assert frame["fetched"] == [] and not frame["ran"]
        assert len(frame["pictures"]) == 9 and all(frame["pictures"])
        assert len(frame["seconds"]) == 12
        assert all(0.9 < seconds < 1.3 for seconds in frame["seconds"])
