"""The endpoints of the Hugging Face Hub that an export needs, on this machine: repositories of models, commits, files.

Spaces are models that `Hub.spaces` names. A commit is a table of path → content. Private repositories, and all that
write, need `TOKEN`. Large files are those of ``*.safetensors``, uploaded as in git's LFS.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_test"
OF_OTHERS = "bob"  # whose models the token may not create
_MODEL = r"/api/(?:models|spaces)/(?P<model>[^/]+/[^/]+)"


class Hub(ThreadingHTTPServer):
    """A server for one test: `models` holds model → its commits, oldest first, as (commit's name, path → content)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Requests)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.models, self.private, self.gated, self.large = {}, set(), set(), {}
        self.spaces = {}  # the models that are Spaces -> their SDK
        self.requests = []  # (method, path) of all requests
        self.status = None  # the status of every response, for example 500
        self.broken = None  # bytes after which weights break off, and every later response is an error

    def commit(self, model, files):
        """Commit files to a model as its newest state, and return the commit's name."""
        name = hashlib.sha1(f"{model} {len(self.models.get(model, []))} {sorted(files)}".encode()).hexdigest()
        self.models.setdefault(model, []).append((name, dict(files)))
        return name

    def files(self, model):
        """Return path → content of a model's newest commit."""
        return self.models[model][-1][1]


def files_of(folder):
    """Return path → content of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def connect(hub, home, monkeypatch):
    """Let huggingface_hub in this process use a server, with its token, and a cache of its own."""
    from huggingface_hub import constants

    constants_of = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in constants_of.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@contextlib.contextmanager
def running_hub():
    """Serve within the block."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Requests(BaseHTTPRequestHandler):
    """Responds to one request, by the first pattern of `_ROUTES` that its path has."""

    protocol_version = "HTTP/1.1"

    def _respond(self):
        hub, url = self.server, urlsplit(self.path)
        hub.requests.append((self.command, unquote(url.path)))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.query = parse_qs(url.query)
        if hub.status is not None:
            return self._fail(hub.status, "out of order")
        for methods, pattern, respond in _ROUTES:
            if self.command in methods and (found := re.fullmatch(pattern, unquote(url.path))):
                return respond(self, **found.groupdict())
        return self._fail(404, "no such address")

    do_GET = do_HEAD = do_POST = do_PUT = _respond  # noqa: N815 - http.server names them

    def log_message(self, *arguments):
        pass

    def _send(self, content, status=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, status, message, code=None):
        headers = {"X_Error_Message": message} | ({"X_Error_Code": code} if code else {})
        self._send({"error": message}, HTTPStatus(status), **headers)

    def _may_write(self):
        """Return whether the token is right; otherwise respond as the Hub does."""
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._fail(401, "Invalid username or password.")
        return False

    def _commit(self, model, revision):
        """Return (name, files) of a model's commit, or respond with the error and return None."""
        hub, has_token = self.server, self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if model not in hub.models or (model in hub.private and not has_token):
            # The Hub does not say without a token whether a private model exists.
            self._fail(404 if has_token else 401, "Repository not found", "RepoNotFound")
        elif model in hub.gated:
            self._fail(403, f"Access to model {model} is restricted.", "GatedRepo")
        else:
            commits = hub.models[model]
            named = [commit for commit in commits if revision == commit[0]] or ([commits[-1]] * (revision == "main"))
            if named:
                return named[0]
            self._fail(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return None

    def create(self):
        asked = json.loads(self.body)
        model = f"{asked['organization']}/{asked['name']}"
        if not self._may_write():
            return
        if asked["organization"] == OF_OTHERS:
            self._fail(403, f"You don't have the rights to create a model under the namespace {asked['organization']}")
        elif model in self.server.models:
            self._send({"error": "You already created this model repo", "url": f"{self.server.url}/{model}"}, 409)
        else:
            self.server.commit(model, {".gitattributes": b"*.safetensors filter=lfs\n"})
            if asked.get("private") or asked.get("visibility") == "private":
                self.server.private.add(model)
            if asked.get("type") == "space":
                self.server.files(model)["README.md"] = b"---\nsdk: gradio\n---\n"
                self.server.spaces[model] = asked["sdk"]
            kind = "spaces/" if asked.get("type") == "space" else ""
            self._send({"url": f"{self.server.url}/{kind}{model}", "id": model})

    def info(self, model, revision="main"):
        if commit := self._commit(model, revision or "main"):
            self._send({"id": model, "sha": commit[0], "private": model in self.server.private})

    def tree(self, model, revision):
        if commit := self._commit(model, revision):
            self._send([_entry(path, content) for path, content in commit[1].items()])

    def validate(self):
        assert json.loads(self.body)["content"].startswith("---\n")
        self._send({"errors": [], "warnings": []})

    def preupload(self, model, revision):
        if self._may_write() and self._commit(model, revision):
            kinds = {True: "lfs", False: "regular"}
            names = [file["path"] for file in json.loads(self.body)["files"]]
            modes = [kinds[name.endswith(".safetensors")] for name in names]
            listed = zip(names, modes, strict=True)
            self._send({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in listed]})

    def batch(self, model):
        if self._may_write():
            objects = json.loads(self.body)["objects"]
            for each in objects:
                each["actions"] = {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}
            self._send({"transfer": "basic", "objects": objects})

    def store(self, digest):
        assert hashlib.sha256(self.body).hexdigest() == digest
        self.server.large[digest] = self.body
        self._send(b"")

    def commit(self, model, revision):
        if not self._may_write() or not (last := self._commit(model, revision)):
            return
        files = dict(last[1])
        for line in self.body.splitlines():
            kind, value = (json.loads(line)[key] for key in ("key", "value"))
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        name = self.server.commit(model, files)
        self._send({"commitUrl": f"{self.server.url}/{model}/commit/{name}", "commitOid": name})

    def resolve(self, model, revision, path):
        if not (commit := self._commit(model, revision)):
            return
        if path not in commit[1]:
            self._fail(404, "Entry not found", "EntryNotFound")
            return
        name, content = commit[0], commit[1][path]
        headers = {"X_Repo_Commit": name, "ETag": f'"{_digest(content)}"'}
        if self.command == "GET" and self.server.broken is not None and path.endswith(".safetensors"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: self.server.broken])
            self.close_connection = True
            self.server.status, self.server.broken = 500, None
            return
        self._send(content, **headers)


_ROUTES = (
    ("POST", "/api/repos/create", _Requests.create),
    ("POST", "/api/validate-yaml", _Requests.validate),
    ("GET", rf"{_MODEL}(/revision/(?P<revision>.+))?", _Requests.info),
    ("GET", rf"{_MODEL}/tree/(?P<revision>[^/]+)", _Requests.tree),
    ("POST", rf"{_MODEL}/preupload/(?P<revision>.+)", _Requests.preupload),
    ("POST", rf"{_MODEL}/commit/(?P<revision>.+)", _Requests.commit),
    ("POST", r"/(?:spaces/)?(?P<model>[^/]+/[^/]+)\.git/info/lfs/objects/batch", _Requests.batch),
    ("PUT", "/large/(?P<digest>[0-9a-f]{64})", _Requests.store),
    (("HEAD", "GET"), r"/(?P<model>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Requests.resolve),
)


def _digest(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path, content):
    return {"type": "file", "path": path, "size": len(content), "oid": _digest(content)}
