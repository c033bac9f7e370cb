"""A client of the official Python SDK that knows the URL of an MCP server and its own credentials at an issuer, and finds out
by itself where a token is to be had and what to ask for. Prints the names of the tools and what `http.get` answered.

    mcp_oauth.py URL ISSUER CLIENT SECRET
"""

import asyncio
import json
import sys

import httpx2
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


class Kept:
    """What the SDK has kept of tokens."""

    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def main(url, issuer, client_id, secret):
    kept = Kept()
    auth = ClientCredentialsOAuthProvider(
        server_url=url, storage=kept, client_id=client_id, client_secret=secret, issuer=issuer
    )
    http = httpx2.AsyncClient(auth=auth, timeout=60)
    async with Client(streamable_http_client(url, http_client=http), read_timeout_seconds=60) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        arguments = {"connector": "http", "action": "get", "version": 1, "input": {}}
        answer = await client.call_tool("openact.execute", arguments)
        body = answer.model_dump(mode="json", by_alias=True)["structuredContent"]["body"]
    print(json.dumps({"tools": tools, "body": body, "scope": kept.tokens.scope}))


asyncio.run(main(*sys.argv[1:]))
