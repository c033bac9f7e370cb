// The npm package @modelcontextprotocol/server-everything over Streamable HTTP, on 127.0.0.1 alone:
//
//     everything.mjs FOLDER-OF-node_modules PORT
import net from 'node:net';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const [folder, port] = process.argv.slice(2);
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (wanted, ...others) {
  return listen.call(this, { port: Number(wanted), host: '127.0.0.1' }, ...others.filter((other) => typeof other === 'function'));
};
process.env.PORT = port;
process.argv.splice(2, 2, 'streamableHttp');
const entry = join(folder, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js');
await import(pathToFileURL(entry).href);
