"""A token endpoint: RFC 6749 client_credentials with every way to name the client, and the RFC 7523 grant."""

import json
import secrets
import threading
import time
import urllib.parse

import jwt

import credentials
from credentials import Refused
from wire import Answer

GRANT_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Tokens:
    """The tokens of one realm."""

    def __init__(self, config):
        self.config = config
        self.lock = threading.Lock()
        self.requests = 0
        # Token -> client or subject, and when it ends.
        self.issued = {}

    def answer(self, request, rest):
        if rest == "count":
            return Answer(200, {"requests": self.requests, "issued": len(self.issued)})
        if request.method != "POST":
            return Answer(405, {"error": "invalid_request"}, [("allow", "POST")])
        if rest == "revoke":
            with self.lock:
                self.issued = {token: (who, 0) for token, (who, _) in self.issued.items()}
            return Answer(200, {"ok": True})
        with self.lock:
            self.requests += 1
        delay_ms = dict(urllib.parse.parse_qsl(request.query)).get("delay_ms", "0")
        time.sleep(int(delay_ms) / 1000)
        try:
            return self.issue(request, rest)
        except Refused as error:
            status, code = (401, "invalid_client") if not isinstance(error, BadGrant) else (400, error.code)
            return Answer(status, {"error": code, "error_description": str(error)})

    def issue(self, request, rest):
        form = self.form(request)
        grant = form.get("grant_type")
        if grant == "client_credentials":
            who, how = self.client(request, form)
        elif grant == GRANT_JWT:
            who, how = self.assertion(form), "assertion"
        else:
            raise BadGrant("unsupported_grant_type", f"grant_type is {grant!r}")
        life = None if rest == "none" else int(rest or self.config["expires_in"])
        token = secrets.token_urlsafe(24)
        with self.lock:
            self.issued[token] = (who, time.monotonic() + (3600 if life is None else life))
        answer = {"access_token": token, "token_type": "Bearer", "client_auth": how}
        if life is not None:
            answer["expires_in"] = life
        for name in ("scope", "audience", "resource"):
            if name in form:
                answer[name] = form[name]
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        return Answer(200, json.dumps(answer).encode(), headers)

    def form(self, request):
        media = (request.one("content-type") or "").partition(";")[0]
        if media != "application/x-www-form-urlencoded":
            raise BadGrant("invalid_request", f"the body is {media!r}")
        pairs = urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True)
        if len(dict(pairs)) != len(pairs):
            raise BadGrant("invalid_request", "a parameter more than once")
        return dict(pairs)

    def client(self, request, form):
        ways = [way for way, used in {
            "basic": request.one("authorization") is not None,
            "post": "client_secret" in form,
            "assertion": "client_assertion" in form,
        }.items() if used]
        if len(ways) != 1:
            raise BadGrant("invalid_request", f"the client is named in {len(ways)} ways")
        if ways == ["basic"]:
            # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
            client, secret = map(urllib.parse.unquote_plus, credentials.basic_pair(request))
        elif ways == ["post"]:
            client, secret = form.get("client_id", ""), form["client_secret"]
        else:
            return self.client_assertion(form), "assertion"
        known = credentials.need(self.config["clients"].get(client), f"such client as {client!r}")
        credentials.same(secret, known, "client secret")
        return client, ways[0]

    def client_assertion(self, form):
        """RFC 7523 section 3: by the client's own secret, or by a key of the configuration."""
        if form.get("client_assertion_type") != ASSERTION_JWT:
            raise BadGrant("invalid_request", "wrong client_assertion_type")
        text = form["client_assertion"]
        try:
            client = jwt.decode(text, options={"verify_signature": False}).get("sub")
            key, algorithms = self.config["clients"].get(client), ["HS256"]
            kid = jwt.get_unverified_header(text).get("kid")
            if kid in self.config["jwt"]["keys"]:
                key, algorithms = (self.config["jwt"]["keys"][kid][name] for name in ("key", "alg"))
                algorithms = [algorithms]
            credentials.need(key, f"such client as {client!r}")
            jwt.decode(text, key, algorithms=algorithms, issuer=client, audience=self.config["jwt"]["audience"],
                       options={"require": ["exp", "iat", "sub"]})
        except jwt.PyJWTError as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        return client

    def assertion(self, form):
        try:
            claims, _ = credentials.verified_jwt(form.get("assertion", ""), self.config)
        except Refused as error:
            raise BadGrant("invalid_grant", str(error)) from error
        return claims["sub"]

    def protected(self, request, _config):
        token = credentials.authorization(request, "Bearer")
        with self.lock:
            who, ends = credentials.need(self.issued.get(token), "such token")
        if time.monotonic() >= ends:
            raise Refused("the token is over or was revoked")
        return {"as": who, "token": token}


class BadGrant(Refused):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
