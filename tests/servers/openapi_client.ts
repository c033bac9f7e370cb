// A client whose types come from the OpenAPI document: that it compiles shows what the document says, and what it prints that
// it is so.
//
//     openapi_client.ts URL TOKEN
import createClient from 'openapi-fetch';
import type { components, paths } from './api.ts';

declare const process: { argv: string[] };

type Code = components['schemas']['Error']['code'];

const [baseUrl, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: baseUrl!, headers: { authorization: `Bearer ${token}` } });
const latest = (reference: string) => ({ path: { reference }, query: { version: 'latest' } });

// An answer that is no stream.
function whole<Answer>(data: Answer | undefined): Extract<Answer, { success: boolean }> {
  if (typeof data !== 'object' || data === null || !('success' in data)) throw new Error('this is no envelope');
  return data as Extract<Answer, { success: boolean }>;
}

// Whoever handles codes by hand is told by the compiler when one is missing.
function exitCode(code: Code): number {
  switch (code) {
    case 'INTERNAL': return 1;
    case 'INVALID_INPUT': case 'INVALID_CONFIG': case 'CONFLICT': case 'IDEMPOTENCY_MISMATCH': return 3;
    case 'NOT_FOUND': return 4;
    case 'FORBIDDEN': case 'EGRESS_DENIED': return 5;
    case 'UNAUTHENTICATED': case 'AUTH_REQUIRED': return 6;
    case 'UPSTREAM_ERROR': case 'NETWORK_ERROR': case 'RATE_LIMITED': return 7;
    case 'TIMEOUT': return 8;
    case 'CONNECTOR_CRASHED': case 'LIMIT_EXCEEDED': case 'OVERLOADED': return 9;
    case 'STORE_UNAVAILABLE': return 10;
  }
}

// What a type keeps from being sent.
export const mistakes = () => [
  // @ts-expect-error: there is no such route
  client.GET('/api/v1/action'),
  // @ts-expect-error: the input is missing
  client.POST('/api/v1/actions/{reference}/execute', { params: latest('http.get-user'), body: {} }),
  // @ts-expect-error: a deadline is a number
  client.POST('/api/v1/execute', { body: { action_trn: 'x', input: {}, options: { timeout_ms: '1s' } } }),
  // @ts-expect-error: runs are not listed by that
  client.GET('/api/v1/runs', { params: { query: { status: 'lost' } } }),
  // @ts-expect-error: a code that there is not
  exitCode('UNHAPPY'),
];

const ran = await client.POST('/api/v1/actions/{reference}/execute', {
  params: latest('http.get-user'),
  body: { input: { login: 'octocat' }, options: { timeout_ms: 30000 } },
});
const result = whole(ran.data).data.result as { body: { target: string } };
const runId: string = whole(ran.data).metadata.run_id!;

const dry = await client.POST('/api/v1/actions/{reference}/execute', {
  params: latest('http.remove'),
  body: { input: { login: 'octocat' }, options: { dry_run: true } },
});

const streamed = await client.POST('/api/v1/actions/{reference}/execute', {
  params: latest('http.list'),
  headers: { accept: 'application/x-ndjson' },
  body: { input: {}, options: { stream: true } },
  parseAs: 'text',
});

const failures: Record<string, [number, Code, number]> = {};
for (const [reference, input] of [['http.get-user', {}], ['http.broken', {}], ['http.got-user', {}]] as const) {
  const { error, response } = await client.POST('/api/v1/actions/{reference}/execute', {
    params: latest(reference),
    body: { input },
  });
  const code = error!.error.code;
  failures[reference] = [response.status, code, exitCode(code)];
}

const runs = await client.GET('/api/v1/runs', { params: { query: { status: 'failed', page_size: 10 } } });

// A record that is written by whoever read it last, and by nobody else.
const reference = 'http.mine';
const body: components['schemas']['NewConnection'] = {
  connector: 'http', name: 'mine', config: { base_url: 'https://example.com' },
};
const path = { reference };
const created = await client.POST('/api/v1/connections', { body });
const first = created.response.headers.get('etag')!;
const write = (base_url: string, etag: string) =>
  client.PUT('/api/v1/connections/{reference}', {
    params: { path, header: { 'if-match': etag } },
    body: { ...body, config: { base_url } },
  });
const updated = await write('https://example.com/v2', first);
const second = updated.response.headers.get('etag')!;
const late = await write('https://example.com/v3', first);
const removed = await client.DELETE('/api/v1/connections/{reference}', { params: { path, header: { 'if-match': second } } });

console.log(JSON.stringify({
  target: result.body.target,
  dry: whole(dry.data).metadata.warnings,
  streamed: streamed.data,
  failures,
  run: runId,
  runs: runs.data!.data.runs.length,
  has_more: runs.data!.data.has_more,
  statuses: [created.response.status, updated.response.status, late.response.status, removed.response.status],
  late: late.error!.error.code,
  changed: first !== second,
}));
