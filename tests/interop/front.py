#!/usr/bin/env python3
"""Stands in front of a plain registry and behaves like the large public ones.

    front.py --listen 127.0.0.1:A --cdn 127.0.0.2:B --registry 127.0.0.1:C
             [--user NAME:PASSWORD] [--rate BYTES_PER_SECOND]

- `/v2/` requires a Bearer token, which `/token` issues (with --user: for Basic credentials).
- A blob's GET is answered with a redirect to a signed address on the other host. That
  "CDN" answers 400 to a request with an Authorization header, as S3 does.
- There are no writes. `GET /_counts` returns the counts of the requests so far.
- `POST /_faults?NAME=NUMBER&...` changes how the CDN sends bodies, also those in progress; 0 ends a fault.
  `rate`: bytes per second of each connection; --rate is the initial value. `cut`: each connection is closed
  after this many bytes of bodies. `damage`: one bit in each piece is wrong.
"""

import argparse
import base64
import collections
import hashlib
import hmac
import http.client
import http.server
import json
import re
import secrets
import threading
import time
import urllib.parse

CHUNK = 64 << 10
LIFETIME = 300
MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<digest>[a-z0-9]+:[a-f0-9]+)")
LISTING = re.compile(r"/v2/(?P<name>.+)/tags/list")
KEPT = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Docker-Content-Digest", "ETag", "Link")


class Counts:
    """The counts of requests, by kind (`token`, `manifest.GET`, ...) and item (a scope, a digest)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = collections.defaultdict(collections.Counter)

    def add(self, kind, what, amount=1):
        with self.lock:
            self.seen[kind][what] += amount

    def json(self):
        with self.lock:
            return json.dumps(self.seen, indent=1, sort_keys=True).encode() + b"\n"


class Front:
    """The state that both servers share: arguments, counts, faults, issued tokens and the CDN's key."""

    def __init__(self, args):
        self.args = args
        self.counts = Counts()
        self.faults = {"rate": args.rate, "cut": 0, "damage": 0}
        self.tokens = {}
        self.key = secrets.token_bytes(32)

    def sign(self, path):
        return hmac.new(self.key, path.encode(), hashlib.sha256).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front = None

    def log_message(self, pattern, *args):
        print(self.__class__.__name__.lower(), pattern % args, flush=True)

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, **headers):
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self.send(status, body, Content_Type="application/json", **headers)

    def ask_registry(self, method, path, wanted):
        """Sends the request on to the registry, with the client's headers in `wanted`, and returns the answer."""
        connection = http.client.HTTPConnection(self.front.args.registry, timeout=30)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name in wanted:
            for value in self.headers.get_all(name, []):
                connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def do_HEAD(self):
        self.do_GET()


class Registry(Handler):
    """The server at the registry's address: tokens, manifests, and redirects for the blobs."""

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/_counts":
            return self.send(200, self.front.counts.json(), Content_Type="application/json")
        if url.path == "/token":
            return self.token(urllib.parse.parse_qs(url.query))
        if url.path == "/v2/":
            return self.allowed(None) and self.send(200, b"{}", Content_Type="application/json")
        for pattern, answer in ((MANIFEST, self.manifest), (BLOB, self.blob), (LISTING, self.listing)):
            if match := pattern.fullmatch(url.path):
                return self.allowed(match["name"]) and answer(match)
        self.error(404, "UNSUPPORTED")

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        wanted = dict(urllib.parse.parse_qsl(url.query))
        if url.path != "/_faults" or not wanted.keys() <= self.front.faults.keys():
            return self.error(404, "UNSUPPORTED")
        self.front.faults.update((name, int(number)) for name, number in wanted.items())
        self.send(200)

    def token(self, query):
        wants = self.front.args.user
        given = self.headers.get("Authorization", "")
        if wants and given != "Basic " + base64.b64encode(wants.encode()).decode():
            self.front.counts.add("token.refused", given.split(" ")[0] or "anonymous")
            return self.error(401, "UNAUTHORIZED")
        scopes = " ".join(query.get("scope", [])).split()
        for scope in scopes or ["(none)"]:
            self.front.counts.add("token", scope)
        token = secrets.token_urlsafe(24)
        self.front.tokens[token] = (time.monotonic() + LIFETIME, scopes)
        body = {"token": token, "access_token": token, "expires_in": LIFETIME}
        self.send(200, json.dumps(body).encode(), Content_Type="application/json")

    def allowed(self, name):
        """Returns true if the token covers pulls of `name`, and answers with the challenge otherwise."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        until, scopes = self.front.tokens.get(token, (0, []))
        scope = f"repository:{name}:pull" if name else None
        if scheme.lower() == "bearer" and time.monotonic() < until and (scope is None or scope in scopes):
            return True
        self.front.counts.add("unauthorized", name or "(ping)")
        challenge = f'Bearer realm="http://{self.front.args.listen}/token",service="front"'
        if scope:
            challenge += f',scope="{scope}"'
        self.error(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
        return False

    def manifest(self, match):
        answer = self.ask_registry(self.command, self.path, ["Accept", "If-None-Match"])
        body = answer.read()
        what = answer.headers.get("Docker-Content-Digest") or match["reference"]
        self.front.counts.add("manifest." + self.command, what)
        self.forward(answer, body, RateLimit_Limit="100;w=21600", RateLimit_Remaining="99;w=21600")

    def blob(self, match):
        self.front.counts.add("blob." + self.command, match["digest"])
        if self.command == "HEAD":
            return self.forward(self.ask_registry("HEAD", self.path, []), b"")
        path = f"/{match['name']}/{match['digest']}"
        location = f"http://{self.front.args.cdn}{path}?signature={self.front.sign(path)}"
        self.send(307, Location=location)

    def listing(self, match):
        answer = self.ask_registry("GET", self.path, [])
        self.forward(answer, answer.read())

    def forward(self, answer, body, **headers):
        for name in KEPT:
            if value := answer.headers.get(name):
                headers[name.replace("-", "_")] = value
        self.send(answer.status, body, **headers)


class Cdn(Handler):
    """The server at the CDN's address: sends blobs for signed links, without credentials."""

    sent = 0  # over this connection, which has a handler of its own

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        name, _, digest = url.path[1:].rpartition("/")
        self.front.counts.add("cdn." + self.command, digest)
        if "Authorization" in self.headers:
            self.front.counts.add("cdn.authorization", digest)
            return self.send(400, b"<Error><Code>InvalidArgument</Code></Error>", Content_Type="application/xml")
        if url.query != "signature=" + self.front.sign(url.path):
            return self.send(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>", Content_Type="application/xml")
        answer = self.ask_registry(self.command, f"/v2/{name}/blobs/{digest}", ["Range"])
        self.send_response(answer.status)
        for header in ("Content-Length", "Content-Range", "Accept-Ranges"):
            if value := answer.headers.get(header):
                self.send_header(header, value)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        self.send_body(answer, digest)

    def send_body(self, answer, digest):
        faults = self.front.faults
        while chunk := answer.read(CHUNK):
            if faults["damage"]:
                chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
            if faults["cut"]:
                chunk = chunk[:max(0, faults["cut"] - self.sent)]
            self.wfile.write(chunk)
            self.sent += len(chunk)
            self.front.counts.add("cdn.bytes", digest, len(chunk))
            if faults["cut"] and self.sent >= faults["cut"]:
                self.front.counts.add("cdn.cut", digest)
                self.close_connection = True
                return
            if faults["rate"]:
                time.sleep(len(chunk) / faults["rate"])


def listen(handler, address):
    host, _, port = address.rpartition(":")
    return http.server.ThreadingHTTPServer((host, int(port)), handler)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--listen", "--cdn", "--registry"):
        parser.add_argument(name, required=True)
    parser.add_argument("--user")
    parser.add_argument("--rate", type=int, default=0)
    args = parser.parse_args()

    Handler.front = Front(args)
    cdn = listen(Cdn, args.cdn)
    threading.Thread(target=cdn.serve_forever, daemon=True).start()
    listen(Registry, args.listen).serve_forever()


main()
