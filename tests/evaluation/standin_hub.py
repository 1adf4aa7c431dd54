"""A server on this machine that answers as the API of the Hugging Face hub does."""

import base64
import json
import re
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_standin"


class StandIn(ThreadingHTTPServer):
    """Repositories by name, each a dict of branches, each a dict of files.

    Attributes:
        repos: what was pushed.
        private: names of the private ones.
        asked: method and path of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def oid(files: dict[str, bytes]) -> str:
    """A commit's name."""
    return sha1(json.dumps({name: sha1(each).hexdigest() for name, each in files.items()}).encode()).hexdigest()


class Answers(BaseHTTPRequestHandler):
    """What the hub answers to creating, committing, listing and reading."""

    server: StandIn

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"POST {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid credentials"})
        if path == "/api/validate-yaml":
            metadata = yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self.answer(200, {"errors": [] if metadata["tags"] else [{"message": "no tags"}], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.server.repos:
                return self.answer(409, {"error": "it exists", "url": f"{self.server.url}/{name}"})
            self.server.repos[name] = {"main": {".gitattributes": b""}}
            self.server.private |= {name} if asked.get("private") or asked.get("visibility") == "private" else set()
            return self.answer(200, {"url": f"{self.server.url}/{name}", "id": name})
        found = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(branch|preupload|commit)/(.+)", path)
        assert found is not None, path
        name, what, branch = found[1], found[2], unquote(found[3])
        branches = self.server.repos[name]
        if what == "branch":
            branches.setdefault(branch, dict(branches["main"]))
            return self.answer(200, {})
        if what == "preupload":
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": files})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                branches[branch][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = oid(branches[branch])
        return self.answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        listed = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+?)(?:/(revision|tree)/(.+?))?", path)
        read = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path)
        found = listed or read
        assert found is not None, path
        name, revision = found[1], (found[3] if listed else found[2]) or "main"
        allowed = name not in self.server.private or self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in self.server.repos or not allowed:
            return self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        branches = self.server.repos[name]
        files = branches.get(revision) or next((each for each in branches.values() if oid(each) == revision), None)
        if files is None:
            return self.answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        if read:
            return self.answer(
                200, files[read[3]], {"ETag": f'"{sha1(files[read[3]]).hexdigest()}"', "X-Repo-Commit": oid(files)}
            )
        if listed and listed[2] == "tree":
            return self.answer(
                200,
                [
                    {"type": "file", "path": each, "size": len(content), "oid": sha1(content).hexdigest()}
                    for each, content in files.items()
                ],
            )
        siblings = [{"rfilename": each} for each in files]
        return self.answer(
            200, {"id": name, "sha": oid(files), "private": name in self.server.private, "siblings": siblings}
        )

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
