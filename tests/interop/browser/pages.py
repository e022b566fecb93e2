#!/usr/bin/env python3
"""Drives Chromium by WebDriver: pages of other origins, pushed scripts, and a UI on another origin.

Usage: pages.py DRIVER_PORT CASE ARGUMENTS..., where CASE is `scripts`, `deputy`, `ui` or `joxit`.
"""

import base64
import hashlib
import http.client
import http.server
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Browser:
    """One headless Chromium. Every host name leads to this machine."""

    def __init__(self, driver):
        self.base = f"http://127.0.0.1:{driver}/session"
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
            "--host-resolver-rules=MAP *.example 127.0.0.1",
        ]
        options = {"goog:chromeOptions": {"args": arguments}, "timeouts": {"script": 60000}}
        started = self.call("", {"capabilities": {"alwaysMatch": options}})
        self.base += "/" + started["sessionId"]

    def call(self, path, body, method="POST"):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"the browser failed: {error.read().decode()[:500]}")

    def open(self, url):
        self.call("/url", {"url": url})

    def run(self, script, *arguments):
        """Runs the body of an async function in the page, and returns its result, or the text of its error."""
        wrapped = (
            "const done = arguments[arguments.length - 1]; const given = Array.from(arguments).slice(0, -1);"
            f"(async (...args) => {{ {script} }})(...given).then(done, error => done(String(error)));"
        )
        return self.call("/execute/async", {"script": wrapped, "args": list(arguments)})

    def quit(self):
        self.call("", None, method="DELETE")


class Pages:
    """A server of empty pages, or of a directory, that records what it is asked for. An answer may be set for a path."""

    def __init__(self, directory=None):
        pages = self
        self.asked, self.answers = [], {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                path = self.path.split("?")[0]
                pages.asked.append(path)
                kind, body = pages.answers.get(path) or ("text/html", b"<!doctype html><title>a page</title>")
                if directory and path not in pages.answers:
                    name = os.path.join(directory, path.lstrip("/") or "index.html")
                    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "json": "application/json"}
                    kind = kinds.get(name.rsplit(".", 1)[-1], "text/html")
                    body = open(name, "rb").read() if os.path.isfile(name) else b""
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", digest(body))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def ask(port, method, path, body=None, **headers):
    """Sends a request as docker and curl do: without an origin."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def same(wanted, got, what):
    if wanted != got:
        raise SystemExit(f"{what}: expected {wanted!r}, got {got!r}")


def push(port, name, tag, authorization=None):
    """Pushes a small image and returns its digest."""
    headers = {"Authorization": authorization} if authorization else {}
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
                         "rootfs": {"type": "layers", "diff_ids": []}, "history": []}).encode()
    status, _, body = ask(port, "POST", f"/v2/{name}/blobs/uploads/?digest={digest(config)}", config, **headers)
    same(201, status, f"the push of a blob: {body}")
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    manifest = json.dumps(manifest).encode()
    status, _, body = ask(port, "PUT", f"/v2/{name}/manifests/{tag}", manifest, Content_Type=MANIFEST, **headers)
    same(201, status, f"the push of a manifest: {body}")
    return digest(manifest)


def script_for(pages):
    """Returns a page that, if it runs, tells `pages` so and replaces local/app:1."""
    return (f"<script>fetch('http://page.example:{pages.port}/ran', {{mode: 'no-cors'}});"
            "fetch('/v2/local/app/manifests/1', {method: 'DELETE'})</script>")


def scripts(browser, port, upstream_port):
    """A page with hidden frames leads to content that claims to be a page."""
    pages, upstream = Pages(), Pages()
    script = script_for(pages)
    before = push(port, "local/app", "1")
    page = {"schemaVersion": 2, "layers": [], "x": script}
    for active in ("text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript"):
        for body in (page, {**page, "mediaType": active}):
            status, _, _ = ask(port, "PUT", "/v2/local/evil/manifests/1", json.dumps(body).encode(), Content_Type=active)
            same(400, status, f"the status of a push of {active}")
    blob = script.encode()
    status, _, _ = ask(port, "POST", f"/v2/local/evil/blobs/uploads/?digest={digest(blob)}", blob)
    same(201, status, "the push of a blob")
    # An upstream may send what a push may not.
    upstream.answers["/v2/library/evil/manifests/1"] = ("text/html", json.dumps(page).encode())
    upstream.answers["/v2/library/worse/manifests/1"] = ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'>" + blob + b"</svg>")
    relay(upstream_port, upstream.port)
    browser.open(f"http://page.example:{pages.port}/")
    addresses = [
        "/v2/local/evil/manifests/1", f"/v2/local/evil/blobs/{digest(blob)}", f"/v2/{script}/tags/list",
        "/v2/library/evil/manifests/1", "/v2/library/worse/manifests/1",
    ]
    loaded = browser.run(
        """for (const address of args[0]) {
               const frame = document.createElement('iframe');
               frame.hidden = true;
               const done = new Promise(resolve => { frame.onload = frame.onerror = resolve; setTimeout(resolve, 3000); });
               frame.src = address;
               document.body.append(frame);
               await done;
           }
           return 'loaded'""",
        [f"http://127.0.0.1:{port}{address}" for address in addresses],
    )
    same("loaded", loaded, "the frames")
    # Opened in the window itself, without a frame around it.
    for address in addresses[2:]:
        browser.open(f"http://127.0.0.1:{port}{urllib.request.quote(address)}")
    time.sleep(1)
    same(False, "/ran" in pages.asked, "a script ran")
    same(before, digest(ask(port, "GET", "/v2/local/app/manifests/1")[2]), "the image")


def relay(port, to):
    """Listens on `port` and passes everything to the server on port `to`: the configuration names a fixed port."""
    import socket

    listener = socket.create_server(("127.0.0.1", port))

    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            target.close()

    def accept():
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", to))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def deputy(browser, port):
    """A page of another origin, and one that DNS rebinding put on the registry's own address, try to change content."""
    pages = Pages()
    image = push(port, "local/app", "1")
    pushed = b"pushed by a page"
    simple = """
        const text = {method: 'POST', mode: 'no-cors', body: args[1], headers: {'Content-Type': 'text/plain'}};
        await fetch(args[0] + '/v2/local/evil/blobs/uploads/?digest=' + args[2], text);
        await fetch(args[0] + '/v2/local/evil/blobs/uploads/', text);
        const form = document.createElement('form');
        form.method = 'POST'; form.enctype = 'text/plain'; form.target = 'sink';
        form.action = args[0] + '/v2/local/evil/blobs/uploads/?digest=' + args[2];
        const sink = document.createElement('iframe');
        sink.name = 'sink';
        document.body.append(sink, form);
        const sent = new Promise(resolve => { sink.onload = resolve; setTimeout(resolve, 3000); });
        form.submit();
        await sent;
        return 'sent'"""
    given = (f"http://127.0.0.1:{port}", pushed.decode(), digest(pushed))
    browser.open(f"http://page.example:{pages.port}/")
    same("sent", browser.run(simple, *given), "simple requests")
    # The owner of evil.example makes the name lead here after the page was loaded. `/` stands for that page.
    browser.open(f"http://evil.example:{port}/")
    rebound = """
        const results = [];
        for (const [method, path, body] of args[0]) {
            const answer = await fetch(path, {method, body});
            results.push(answer.status);
        }
        return results"""
    changes = [
        ["POST", f"/v2/local/evil/blobs/uploads/?digest={digest(pushed)}", pushed.decode()],
        ["POST", "/v2/local/evil/blobs/uploads/", ""],
        ["PUT", "/v2/local/app/manifests/1", "{}"],
        ["DELETE", f"/v2/local/app/manifests/{image}", None],
        ["DELETE", "/api/v1/images/local/app", None],
    ]
    same([403] * len(changes), browser.run(rebound, changes), "the answers to a rebound page")
    same(404, ask(port, "HEAD", f"/v2/local/evil/blobs/{digest(pushed)}")[0], "the status of the blob")
    same(image, digest(ask(port, "GET", "/v2/local/app/manifests/1")[2]), "the image")
    # The registry's own page, at its address, may.
    browser.open(f"http://127.0.0.1:{port}/")
    same([202], browser.run(rebound, [["POST", "/v2/local/mine/blobs/uploads/", ""]]), "the answer to its own page")


def ui(browser, port, page_port):
    """A page on http://ui.example lists and deletes with a login, as Joxit's registry UI does."""
    authorization = "Basic " + base64.b64encode(b"alice:secret").decode()
    image = push(port, "local/app", "1", authorization)
    relay(page_port, Pages().port)
    browser.open(f"http://ui.example:{page_port}/")
    used = browser.run(
        """const ask = async (method, path, headers = {}) => {
               const answer = await fetch(args[0] + path, {method, headers: {Authorization: args[1], ...headers}});
               return [answer.status, answer.headers.get('Docker-Content-Digest'), await answer.text()];
           };
           const accept = {Accept: args[2]};
           const results = {};
           results.refused = (await fetch(args[0] + '/v2/_catalog')).status;
           results.catalog = JSON.parse((await ask('GET', '/v2/_catalog?n=1000'))[2]).repositories;
           results.tags = JSON.parse((await ask('GET', '/v2/local/app/tags/list'))[2]).tags;
           const [, digest] = await ask('HEAD', '/v2/local/app/manifests/1', accept);
           results.digest = digest;
           results.deleted = (await ask('DELETE', '/v2/local/app/manifests/' + digest, accept))[0];
           return results""",
        f"http://127.0.0.1:{port}", authorization, "application/vnd.docker.distribution.manifest.v2+json, " + MANIFEST,
    )
    wanted = {"refused": 401, "catalog": ["local/app"], "tags": ["1"], "digest": image, "deleted": 202}
    same(wanted, used, "the answers to the UI")
    same(404, ask(port, "GET", "/v2/local/app/manifests/1", Authorization=authorization)[0], "the status of the image")
    # Another page gets nothing, and deletes nothing.
    push(port, "local/app", "2", authorization)
    browser.open(f"http://page.example:{page_port}/")
    other = "return await fetch(args[0] + '/v2/local/app/manifests/2', {method: 'DELETE', headers: {Authorization: args[1]}})"
    refused = browser.run(other, f"http://127.0.0.1:{port}", authorization)
    same(True, isinstance(refused, str) and "Failed to fetch" in refused, f"the refusal of another page: {refused}")
    same(200, ask(port, "GET", "/v2/local/app/manifests/2", Authorization=authorization)[0], "the status of the image")


def joxit(browser, port, page_port, directory):
    """Joxit's registry UI itself, from its published `dist/`, lists a repository and deletes a tag."""
    push(port, "local/app", "1")
    pages = Pages(directory)
    index = open(os.path.join(directory, "index.html"), encoding="utf-8").read()
    for key, value in {"REGISTRY_URL": f"http://127.0.0.1:{port}", "DELETE_IMAGES": "true", "SINGLE_REGISTRY": "true",
                       "SHOW_CONTENT_DIGEST": "true", "CATALOG_ELEMENTS_LIMIT": "1000", "TAGLIST_PAGE_SIZE": "100",
                       "CATALOG_MIN_BRANCHES": "1", "CATALOG_MAX_BRANCHES": "1"}.items():
        index = index.replace("${" + key + "}", value)
    while "${" in index:
        begin = index.index("${")
        index = index[:begin] + index[index.index("}", begin) + 1:]
    pages.answers["/"] = ("text/html", index.encode())
    relay(page_port, pages.port)

    def shown(words):
        for _ in range(200):
            text = browser.run("return document.body.innerText")
            if words in text:
                return
            time.sleep(0.1)
        raise SystemExit(f"the UI does not show {words!r}: {text}")

    browser.open(f"http://ui.example:{page_port}/")
    shown("local")
    browser.open(f"http://ui.example:{page_port}/#!/taglist/local/app")
    shown("amd64")
    clicked = browser.run(
        """const wait = async find => {
               for (let i = 0; i < 200; i++) {
                   const found = find();
                   if (found) return found;
                   await new Promise(resolve => setTimeout(resolve, 100));
               }
               throw new Error('not found: ' + find + document.body.innerHTML.slice(-3000));
           };
           // The button is disabled until the UI knows the digest.
           (await wait(() => document.querySelector('remove-image button:not([disabled])'))).click();
           const buttons = () => Array.from(document.querySelectorAll('confirm-delete-image .material-popup-action button'));
           (await wait(() => buttons().find(button => /delete/i.test(button.innerText)))).click();
           return 'clicked'""")
    same("clicked", clicked, "the deletion")
    for _ in range(200):
        if ask(port, "GET", "/v2/local/app/manifests/1")[0] == 404:
            return
        time.sleep(0.1)
    raise SystemExit(f"the UI did not delete the image: {browser.run('return document.body.innerText')}")


def main():
    driver, case, *arguments = sys.argv[1:]
    browser = Browser(int(driver))
    try:
        arguments = [int(argument) if argument.isdigit() else argument for argument in arguments]
        {"scripts": scripts, "deputy": deputy, "ui": ui, "joxit": joxit}[case](browser, *arguments)
    finally:
        browser.quit()


main()
