"""Bodies under a content coding, and bombs: little on the wire, very much when decoded."""

import gzip
import json
import urllib.parse
import zlib

import brotlicffi
import zstandard

from wire import Answer

# Beyond ASCII, so that a charset that goes wrong on the way is seen.
TEXT = json.dumps({"text": "zażółć gęślą jaźń " * 20}, ensure_ascii=False).encode()
MIB = bytes(1 << 20)


def gzip_of(data):
    return gzip.compress(data, mtime=0)


CODINGS = {
    "gzip": ("gzip", gzip_of),
    "deflate": ("deflate", zlib.compress),
    "br": ("br", brotlicffi.compress),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "gzip-gzip": ("gzip, gzip", lambda data: gzip_of(gzip_of(data))),
}


def compressor(coding):
    if coding == "gzip":
        made = zlib.compressobj(9, zlib.DEFLATED, 31)
        return made.compress, made.flush
    if coding == "br":
        made = brotlicffi.Compressor(quality=1)
        return made.process, made.finish
    if coding == "zstd":
        made = zstandard.ZstdCompressor(level=1).compressobj()
        return made.compress, made.flush
    return None


def bomb(coding, mib):
    compress, finish = compressor(coding)
    for _ in range(mib):
        yield compress(MIB)
    yield finish()


def answer(kind, rest, request):
    if kind in CODINGS and not rest:
        coding, encode = CODINGS[kind]
        return Answer(200, encode(TEXT), [("content-type", "application/json"), ("content-encoding", coding)])
    if kind == "bomb" and compressor(rest):
        mib = int(dict(urllib.parse.parse_qsl(request.query)).get("mib", "1024"))
        return Answer(200, b"", [("content-encoding", rest)], chunks=bomb(rest, mib))
    return None
