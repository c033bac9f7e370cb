"""One function per kind of credential: returns who it is, or raises Refused."""

import base64
import binascii
import calendar
import hashlib
import hmac
import time
import urllib.parse

import jwt
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CLOCK_SKEW_SECONDS = 300
SIGV4_SKEW_SECONDS = 900
JWT_LIFE_SECONDS_MAX = 3600


class Refused(Exception):
    """A credential that does not verify; the text says why."""


def need(value, what):
    if value is None:
        raise Refused(f"no {what}")
    return value


def same(given, expected, what):
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise Refused(f"wrong {what}")


def authorization(request, scheme):
    """What follows the scheme in the one Authorization header."""
    value = need(request.one("authorization"), "Authorization header")
    given, _, rest = value.partition(" ")
    if given.lower() != scheme.lower():
        raise Refused(f"the scheme is {given!r}, not {scheme}")
    return rest


def bearer(request, config):
    same(authorization(request, "Bearer"), config["bearer"], "token")
    return {"as": "bearer"}


def basic_pair(request):
    try:
        text = base64.b64decode(authorization(request, "Basic"), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refused(f"not base64 of UTF-8: {error}") from error
    user, colon, password = text.partition(":")
    if not colon:
        raise Refused("no colon between user and password")
    return user, password


def basic(request, config):
    user, password = basic_pair(request)
    same(user, config["basic"]["user"], "user")
    same(password, config["basic"]["password"], "password")
    return {"as": user}


def api_key_header(request, config):
    same(need(request.one("x-api-key"), "X-Api-Key header"), config["api_key"], "key")
    return {"as": "api-key"}


def api_key_query(request, config):
    values = urllib.parse.parse_qs(request.query, keep_blank_values=True).get("api_key", [])
    if len(values) != 1:
        raise Refused(f"{len(values)} query parameters api_key")
    same(values[0], config["api_key"], "key")
    return {"as": "api-key"}


def api_key_cookie(request, config):
    cookies = [pair.strip().partition("=") for pair in (request.one("cookie") or "").split(";")]
    values = [value for name, _, value in cookies if name == "api_key"]
    if len(values) != 1:
        raise Refused(f"{len(values)} cookies api_key")
    same(values[0], config["api_key"], "key")
    return {"as": "api-key"}


def api_key_prefix(request, config):
    same(authorization(request, "ApiKey"), config["api_key"], "key")
    return {"as": "api-key"}


def sigv4(request, config):
    fields = dict(part.strip().partition("=")[::2] for part in authorization(request, "AWS4-HMAC-SHA256").split(","))
    scope = need(fields.get("Credential"), "Credential").split("/")
    if len(scope) != 5 or scope[4] != "aws4_request":
        raise Refused(f"not a credential scope: {scope}")
    access_key, date, region, service, _ = scope
    settings = config["sigv4"]
    secret = need(settings["keys"].get(access_key), f"such access key as {access_key!r}")
    if (region, service) != (settings["region"], settings["service"]) and service != "s3":
        raise Refused(f"signed for {service} in {region}")
    timestamp = need(request.one("x-amz-date"), "X-Amz-Date header")
    try:
        signed_at = time.strptime(timestamp, "%Y%m%dT%H%M%SZ")
    except ValueError as error:
        raise Refused(f"not a timestamp: {timestamp!r}") from error
    if not timestamp.startswith(date) or abs(calendar.timegm(signed_at) - time.time()) > SIGV4_SKEW_SECONDS:
        raise Refused(f"signed at {timestamp}")
    signed = need(fields.get("SignedHeaders"), "SignedHeaders").split(";")
    check_signed_headers(request, signed, secret.get("session_token"))
    check_body_hash(request, required=service == "s3")
    expected = sigv4_signature(request, signed, access_key, secret, region, service, timestamp)
    same(need(fields.get("Signature"), "Signature"), expected, "signature")
    return {"as": access_key, "signed_headers": signed, "session": secret.get("session_token") is not None}


def check_signed_headers(request, signed, session_token):
    if signed != sorted(set(signed)):
        raise Refused("SignedHeaders are not sorted")
    must = {"host"} | {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")}
    if missing := must - set(signed):
        raise Refused(f"not signed: {', '.join(sorted(missing))}")
    for name in signed:
        need(request.all(name) or None, f"header {name}, which is signed")
    if (request.one("x-amz-security-token") or "") != (session_token or ""):
        raise Refused("wrong session token")


def check_body_hash(request, required):
    given = request.one("x-amz-content-sha256")
    if given is None and not required:
        return
    if need(given, "X-Amz-Content-Sha256 header") != hashlib.sha256(request.body).hexdigest():
        raise Refused("X-Amz-Content-Sha256 is not that of the body")


def sigv4_signature(request, signed, access_key, secret, region, service, timestamp):
    """botocore's own computation, over what was received."""
    decoded = [pair.partition("=")[::2] for pair in request.query.split("&") if pair]
    encoded = [[urllib.parse.quote(urllib.parse.unquote(part), safe="-_.~") for part in pair] for pair in decoded]
    query = "&".join("=".join(pair) for pair in encoded)
    host = need(request.one("host"), "Host header")
    again = AWSRequest(
        method=request.method,
        url=f"http://{host}{request.path}" + (f"?{query}" if query else ""),
        data=request.body,
        headers={name: ",".join(request.all(name)) for name in signed},
    )
    again.context["timestamp"] = timestamp
    # It signs a body by its hash unless TLS vouches for it; the header, which was checked, says which.
    again.context["payload_signing_enabled"] = True
    credentials = Credentials(access_key, secret["secret_key"], secret.get("session_token"))
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, region)
    canonical = signer.canonical_request(again)
    return signer.signature(signer.string_to_sign(again, canonical), again)


def fresh(request, timestamp):
    """Whether a signature made then is still good: five minutes, or what the query says."""
    tolerance = urllib.parse.parse_qs(request.query).get("tolerance", [str(CLOCK_SKEW_SECONDS)])[0]
    try:
        age = abs(time.time() - int(timestamp))
    except ValueError as error:
        raise Refused(f"not a timestamp in seconds: {timestamp!r}") from error
    if int(tolerance) and age > int(tolerance):
        raise Refused(f"signed {age:.0f} seconds from now")


def mac(config, algorithm, message):
    return hmac.new(config["hmac"].encode(), message, algorithm)


def hmac_stripe(request, config):
    pairs = [part.partition("=")[::2] for part in need(request.one("stripe-signature"), "signature").split(",")]
    timestamp = need(dict(pairs).get("t"), "t= in the signature")
    expected = mac(config, "sha256", timestamp.encode() + b"." + request.body).hexdigest()
    if not any(hmac.compare_digest(value, expected) for name, value in pairs if name == "v1"):
        raise Refused("no v1= is right")
    fresh(request, timestamp)
    return {"as": "stripe"}


def hmac_slack(request, config):
    timestamp = need(request.one("x-slack-request-timestamp"), "timestamp")
    expected = mac(config, "sha256", b"v0:" + timestamp.encode() + b":" + request.body).hexdigest()
    same(need(request.one("x-slack-signature"), "signature"), f"v0={expected}", "signature")
    fresh(request, timestamp)
    return {"as": "slack"}


def hmac_github(request, config):
    expected = mac(config, "sha256", request.body).hexdigest()
    same(need(request.one("x-hub-signature-256"), "signature"), f"sha256={expected}", "signature")
    return {"as": "github"}


def hmac_github_sha1(request, config):
    """The header that GitHub still sends beside the other."""
    expected = mac(config, "sha1", request.body).hexdigest()
    same(need(request.one("x-hub-signature"), "signature"), f"sha1={expected}", "signature")
    return {"as": "github"}


def hmac_generic(request, config):
    timestamp = need(request.one("x-timestamp"), "timestamp")
    body = hashlib.sha256(request.body).hexdigest()
    message = "\n".join([request.method, request.path, request.query, timestamp, body]).encode()
    expected = base64.b64encode(mac(config, "sha512", message).digest()).decode()
    same(need(request.one("x-signature"), "signature"), expected, "signature")
    fresh(request, timestamp)
    return {"as": "generic"}


def verified_jwt(text, config, audience=None):
    """The claims and the header of a token that PyJWT finds good, by the key that it names."""
    try:
        header = jwt.get_unverified_header(text)
        key = need(config["jwt"]["keys"].get(header.get("kid")), f"such key as {header.get('kid')!r}")
        claims = jwt.decode(
            text,
            key["key"],
            algorithms=[key["alg"]],
            audience=audience or config["jwt"]["audience"],
            issuer=config["jwt"]["issuer"],
            options={"require": ["exp", "iat", "sub"]},
        )
    except jwt.PyJWTError as error:
        raise Refused(f"{type(error).__name__}: {error}") from error
    if claims["exp"] - claims["iat"] > JWT_LIFE_SECONDS_MAX:
        raise Refused(f"good for {claims['exp'] - claims['iat']} seconds")
    same(claims["sub"], config["jwt"]["subject"], "subject")
    return claims, header


def jwt_bearer(request, config):
    claims, header = verified_jwt(authorization(request, "Bearer"), config)
    return {"as": claims["sub"], "alg": header["alg"], "kid": header["kid"], "claims": claims}


def mtls(request, _config):
    subject = (request.tls or {}).get("client")
    return {"as": need(subject, "client certificate")}


KINDS = {
    "bearer": bearer,
    "basic": basic,
    "api-key/header": api_key_header,
    "api-key/query": api_key_query,
    "api-key/cookie": api_key_cookie,
    "api-key/prefix": api_key_prefix,
    "sigv4": sigv4,
    "hmac/stripe": hmac_stripe,
    "hmac/slack": hmac_slack,
    "hmac/github": hmac_github,
    "hmac/github-sha1": hmac_github_sha1,
    "hmac/generic": hmac_generic,
    "jwt": jwt_bearer,
    "mtls": mtls,
}
