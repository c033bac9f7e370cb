"""An MCP server of the official Python SDK, over Streamable HTTP on 127.0.0.1: 2026-07-28 and the versions before it.

    mcp_tools.py PORT TOKEN

Every request needs `Authorization: Bearer TOKEN`. What it was sent is at /seen, a line for each request.
"""

import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from starlette.responses import JSONResponse, PlainTextResponse

port, token = int(sys.argv[1]), sys.argv[2]
server = MCPServer("tools", version="4.5.6")
seen = []


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ToolError(f"it failed: {why}")


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts, and reports its progress."""
    for number in range(1, to + 1):
        await context.report_progress(number, to, f"at {number}")
    return f"counted to {to}"


@server.tool()
def headers(context: Context) -> dict[str, str]:
    """What the request was sent with, its credential too."""
    return dict(context.headers or {})


@server.resource("note://{name}")
def note(name: str) -> str:
    """A note."""
    return f"the note {name}"


@server.prompt()
def greet(name: str) -> str:
    """A greeting."""
    return f"Say hello to {name}"


app = server.streamable_http_app()


async def guarded(scope, receive, send):
    if scope["type"] != "http":
        return await app(scope, receive, send)
    if scope["path"] == "/seen":
        return await PlainTextResponse("\n".join(seen))(scope, receive, send)
    sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    if sent.get("authorization") != f"Bearer {token}":
        return await JSONResponse({"error": "invalid_token"}, 401)(scope, receive, send)
    names = ("mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id")
    seen.append(" ".join([scope["method"], *(sent.get(name, "-") for name in names)]))
    await app(scope, receive, send)


uvicorn.run(guarded, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
