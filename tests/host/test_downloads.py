"""Weights of named upstreams, from a server on this machine."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers.launching import free_port
from lid_mapmix.host import compat, downloads
from lid_mapmix.utils.errors import UserError

CONTENT = bytes(range(256)) * 4_000


class Answers(BaseHTTPRequestHandler):
    """Weights that are whole, that break off, and that are not there."""

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        if self.path == "/missing.pt":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(CONTENT[:1_000] if self.path == "/broken.pt" else CONTENT)

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


def refused(path, url, says):
    with pytest.raises(UserError, match=says) as caught:
        downloads.fetch(path, url)
    message = str(caught.value)
    assert message.startswith(url)
    assert message.endswith(f"save it as {path}")
    assert "\n" not in message
    assert not [each for each in path.parent.iterdir() if each.suffix != ".lock"]


def test_a_file_is_fetched_once(server, tmp_path):
    path = tmp_path / "cache" / "weights.pt"
    for _ in range(2):
        downloads.fetch(path, f"{server.url}/weights.pt")
    assert path.read_bytes() == CONTENT
    assert server.asked == [("GET", "/weights.pt")]


def test_a_fresh_file_is_fetched_where_it_is_asked_for_and_the_old_one_is_not_brand_new(server, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")
    downloads.fetch(path, f"{server.url}/weights.pt", refresh=True)
    assert path.read_bytes() == b"old"
    os.utime(path, (time.time() - 60,) * 2)
    downloads.fetch(path, f"{server.url}/weights.pt", refresh=True)
    assert path.read_bytes() == CONTENT


def test_the_page_that_says_not_found_is_not_taken_for_weights(server, tmp_path):
    refused(tmp_path / "weights.pt", f"{server.url}/missing.pt", "Not Found")


def test_an_answer_that_breaks_off_is_not_taken_for_the_whole(server, tmp_path):
    refused(tmp_path / "weights.pt", f"{server.url}/broken.pt", f"ended after 1000 of {len(CONTENT)} bytes")


def test_a_server_that_does_not_answer_is_one_line(tmp_path):
    refused(tmp_path / "weights.pt", f"http://127.0.0.1:{free_port()}/weights.pt", "Connection refused")


def test_nothing_is_fetched_that_only_a_checkpoint_names(server, tmp_path):
    path, url = tmp_path / "weights.pt", f"{server.url}/weights.pt"
    with downloads.allowed(False), pytest.raises(UserError, match="because only a checkpoint names it") as caught:
        downloads.fetch(path, url)
    assert f"curl -L -o {path} {url}" in str(caught.value)
    assert server.asked == []
    downloads.fetch(path, url)
    with downloads.allowed(False):
        downloads.fetch(path, url)  # it is in the cache
    assert len(server.asked) == 1


def test_a_server_is_reachable_whatever_it_says(server):
    assert downloads.reachable(f"{server.url}/missing.pt")
    assert not downloads.reachable(f"http://127.0.0.1:{free_port()}")


def test_s3prl_fetches_by_it(server, tmp_path, monkeypatch):
    compat.apply()
    from s3prl.util import download

    monkeypatch.setattr(download, "_download_dir", tmp_path)
    downloads.install()
    path = download._urls_to_filepaths(f"{server.url}/weights.pt")
    assert path.endswith(".weights.pt")
    with pytest.raises(UserError, match="Not Found"):
        download._urls_to_filepaths(f"{server.url}/missing.pt")
