"""The page in a real browser, where there is one: nothing is fetched or wrong, nothing too wide, audio plays."""

import pytest
from helpers.browser import CHROMIUM, look
from lid_mapmix.apps import cli

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
    found, requests, console = look(tmp_path / "site", FRAMES, tmp_path)
    assert not console
    assert requests == {"/frames.html", "/report.html", "/found"}
    assert [frame["asked"] for frame in found] == [400, 1440]
    for frame in found:
        assert frame["width"] == frame["asked"], "the page is wider than its window"
        assert frame["fetched"] == [] and not frame["ran"]
        assert len(frame["pictures"]) == 5 and all(frame["pictures"])
        assert len(frame["seconds"]) == 12
        assert all(0.9 < seconds < 1.3 for seconds in frame["seconds"])
