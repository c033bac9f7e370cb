"""A server that verifies every kind of credential by itself, with other people's libraries or none, and says why not.

    verifier.py CONFIG.json

The configuration holds the secrets and the listeners (see `tests/support/servers/verifier.rs`, which writes it). Each
listener takes a free port; the ports are written to the file `ready` when all of them are open.

Answers 200 {"ok": true, "kind": …, "as": …} or 401 {"ok": false, "kind": …, "why": …}.

Any path may start with /at/REALM: tokens and counts of one realm are nothing to another, so that tests share a server.

| path | |
|---|---|
| /bearer /basic | |
| /api-key/header /api-key/query /api-key/cookie | X-Api-Key, ?api_key=, cookie api_key |
| /api-key/prefix | Authorization: ApiKey KEY |
| /sigv4/… | AWS Signature Version 4, recomputed by botocore |
| /hmac/stripe /hmac/slack /hmac/github /hmac/github-sha1 /hmac/generic | ?tolerance=SECONDS, 0 for none |
| /jwt | a bearer that PyJWT verifies |
| /token, /token/SECONDS, /token/none | RFC 6749 client_credentials, RFC 7523 grant and client assertion; ?delay_ms= |
| /token/count, POST /token/revoke | requests so far; makes every token of the realm worthless |
| /protected | a token of /token |
| /mtls | the subject of the client's certificate |
| /echo, /echo-headers | what was received |
| /gzip /br /zstd /deflate /gzip-gzip, /bomb/CODING?mib= | encoded bodies |
| /count, POST /reset | requests of the realm so far |
"""

import base64
import json
import os
import sys
import threading

import codings
import credentials
from credentials import Refused
from tokens import Tokens
from wire import Answer, Listener, Malformed



class Realm:
    def __init__(self, config):
        self.requests = 0
        self.tokens = Tokens(config)


class Verifier:
    def __init__(self, config):
        self.config = config
        self.realms = {}
        self.lock = threading.Lock()

    def realm(self, name):
        with self.lock:
            return self.realms.setdefault(name, Realm(self.config))

    def answer(self, request):
        path, realm = request.path, ""
        if path.startswith("/at/"):
            realm, _, path = path[len("/at/"):].partition("/")
            path = "/" + path
        realm = self.realm(realm)
        kind, _, rest = path[1:].partition("/")
        if kind == "count":
            return Answer(200, {"requests": realm.requests})
        if kind == "reset" and request.method == "POST":
            realm.__init__(self.config)
            return Answer(200, {"ok": True})
        with self.lock:
            realm.requests += 1
        if kind == "token":
            return realm.tokens.answer(request, rest)
        if kind == "echo":
            return Answer(200, echo(request))
        if kind == "echo-headers":
            names = dict.fromkeys(name.lower() for name, _ in request.headers)
            return Answer(200, {name: request.all(name) for name in names})
        encoded = codings.answer(kind, rest, request)
        if encoded is not None:
            return encoded
        return self.verify(request, realm, kind, rest)

    def verify(self, request, realm, kind, rest):
        name = f"{kind}/{rest}" if kind in ("hmac", "api-key") else kind
        check = realm.tokens.protected if name == "protected" else credentials.KINDS.get(name)
        if check is None:
            return Answer(404, {"ok": False, "why": f"nothing at {request.path}"})
        try:
            found = check(request, self.config)
        except (Refused, Malformed) as error:
            challenge = {"basic": 'Basic realm="test"'}.get(kind, 'Bearer realm="test", error="invalid_token"')
            return Answer(401, {"ok": False, "kind": name, "why": str(error)}, [("www-authenticate", challenge)])
        return Answer(200, {"ok": True, "kind": name, **found})


def echo(request):
    return {
        "line": request.line,
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": base64.b64encode(request.body).decode(),
        "chunked": request.chunked,
        "trailers": request.trailers,
        "tls": request.tls,
        "listener": request.listener,
    }


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    verifier = Verifier(config)
    listeners = {name: Listener(name, settings, verifier.answer) for name, settings in config["listeners"].items()}
    ports = {name: listener.start() for name, listener in listeners.items()}
    # In one step: whoever sees the file can read all of it.
    with open(config["ready"] + ".new", "w", encoding="utf-8") as file:
        json.dump(ports, file)
    os.rename(config["ready"] + ".new", config["ready"])
    threading.Event().wait()


main()
