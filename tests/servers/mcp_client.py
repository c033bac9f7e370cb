"""A client of the official Python SDK: does the steps it is handed, and prints what came of each, as one line of JSON.

    mcp_client.py TARGET MODE STEPS [HEADERS]

TARGET is a URL, or a command as a JSON list; MODE is `legacy` (initialize), or `auto` (server/discover); STEPS is a JSON
list of steps, each a list: its name, and what it needs; HEADERS go with every request.
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def every(listing, key):
    """All pages."""
    found, pages, cursor = [], 0, None
    while True:
        page = await listing(cursor=cursor)
        found += [plain(item) for item in getattr(page, key)]
        pages, cursor = pages + 1, page.next_cursor
        if cursor is None:
            return {"items": found, "pages": pages}


class Changes:
    """What the server says without being asked, in the earlier protocols."""

    def __init__(self):
        self.seen = asyncio.Queue()

    async def __call__(self, message):
        method = getattr(message, "method", None)
        if method:
            await self.seen.put(method)


async def changed(client, changes, path, text):
    """Changes a file, and waits until the server says that the tools are others now."""

    def write():
        with open(path + ".new", "w") as file:
            file.write(text)
        os.replace(path + ".new", path)

    if client.protocol_version < "2026":
        write()
        while await changes.seen.get() != "notifications/tools/list_changed":
            pass
        return "notifications/tools/list_changed"
    async with client.listen(tools_list_changed=True) as events:
        write()
        async for event in events:
            return type(event).__name__


async def step(client, changes, what, *rest):
    if what == "about":
        return {"version": client.protocol_version, "capabilities": plain(client.server_capabilities),
                "instructions": client.instructions}
    if what == "tools":
        return await every(client.list_tools, "tools")
    if what == "resources":
        return await every(client.list_resources, "resources")
    if what == "templates":
        return await every(client.list_resource_templates, "resource_templates")
    if what == "read":
        return json.loads((await client.read_resource(rest[0])).contents[0].text)
    if what == "call":
        return plain(await client.call_tool(rest[0], rest[1]))
    if what == "stream":
        told = []

        async def progress(done, total, message):
            told.append([done, message])

        answer = await client.call_tool(rest[0], rest[1], progress_callback=progress)
        return {"told": told, "answer": plain(answer)}
    if what == "together":
        answers = await asyncio.gather(*(client.call_tool(name, arguments) for name, arguments in rest[0]))
        return [plain(answer) for answer in answers]
    if what == "changed":
        return await changed(client, changes, *rest)
    raise ValueError(what)


async def main(target, mode, steps, headers="{}"):
    if target.startswith("["):
        command, *args = json.loads(target)
        server = StdioServerParameters(command=command, args=args)
    else:
        http = httpx2.AsyncClient(headers=json.loads(headers), timeout=60)
        server = streamable_http_client(target, http_client=http)
    changes, done = Changes(), []
    async with Client(server, mode=mode, message_handler=changes, read_timeout_seconds=60) as client:
        for one in steps:
            try:
                done.append(await step(client, changes, *one))
            except MCPError as error:
                done.append({"protocol_error": {"code": error.error.code, "message": error.error.message}})
    print(json.dumps(done))


asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), *sys.argv[4:]))
