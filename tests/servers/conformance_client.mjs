// What the conformance suite starts as the client that it judges: OpenAct, with the suite's server as a connection.
//
//     conformance_client.mjs OPENACT HOME URL
//
// The suite says in the environment which scenario it plays. What OpenAct printed, and how it ended, goes to standard output.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [openact, home, url] = process.argv.slice(2);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

function run(...args) {
  const env = { ...process.env, OPENACT_HOME: home };
  const { status, stdout, stderr } = spawnSync(openact, args, { env, encoding: 'utf8' });
  console.log(JSON.stringify({ args: args.slice(0, 2), status, stdout, stderr }));
  return stdout;
}

// The connection, with these actions, is all that the database has.
function configure(actions) {
  const file = join(home, 'config.json');
  const named = Object.entries(actions).map(([name, action]) => [name, { connection: 'suite', ...action }]);
  const mcp = { connections: { suite: { url } }, actions: Object.fromEntries(named) };
  writeFileSync(file, JSON.stringify({ connectors: { mcp } }));
  run('sync', file);
}

// Each is a call: the action, and its input.
function calls(...all) {
  configure(Object.fromEntries(all.map(([action], index) => [`call-${index}`, action])));
  all.forEach(([, input], index) => run('run', `mcp/call-${index}`, '--input', JSON.stringify(input)));
}

const tool = (name, input = {}) => [{ tool: name }, input];

// It introduces itself, and sees which tools there are and what they take.
configure({});
const checked = run('check', 'mcp/suite', '--format', 'json');
const tools = [JSON.parse(checked || '{}')].flat()[0].result?.tools ?? [];

if (scenario === 'tools_call') calls(tool('add_numbers', { a: 2, b: 40 }));
if (scenario === 'sse-retry') calls(tool('test_reconnection'));
if (scenario === 'http-standard-headers') {
  calls(
    tool('my-hyphenated-tool'),
    [{ operation: 'list-resources' }, {}],
    [{ operation: 'read-resource', uri: 'file:///path/to/file%20name.txt' }, {}],
    [{ operation: 'list-prompts' }, {}],
    [{ operation: 'get-prompt', prompt: 'test_prompt' }, {}],
  );
}
if (scenario === 'http-custom-headers') {
  // What is null does not fit the tool's schema, and OpenAct refuses it: it is left out.
  const given = (all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
  calls(...context.toolCalls.map((call) => tool(call.name, given(call.arguments))));
}
if (scenario === 'http-invalid-tool-headers') {
  // Those that it shows, and some that it must not call though an action names them.
  const invalid = ['invalid_object_header', 'invalid_duplicate_diff_case', 'invalid_space_in_name'];
  const names = [...tools.map((found) => found.name), ...invalid];
  const input = { region: 'here', value: 'x', score: 1.5, data: {}, items: [], nil: null, field1: 'x', field2: 'y' };
  calls(...[...new Set(names)].map((name) => tool(name, input)));
}
if (scenario === 'json-schema-2020-12-preservation') {
  const shown = tools.find((found) => found.name === 'json_schema_2020_12_tool');
  calls(tool('json_schema_echo', { schema: shown.input_schema }));
}
