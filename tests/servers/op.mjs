// A certified OpenID provider with clients for machines. `node op.mjs FOLDER PORT SECONDS`: FOLDER holds node_modules,
// tokens live SECONDS.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port, seconds] = process.argv.slice(2);
const found = createRequire(`${folder}/package.json`).resolve('oidc-provider');
const { Provider } = await import(pathToFileURL(found));

const issuer = `http://127.0.0.1:${port}`;
const client = (client_id, client_secret, token_endpoint_auth_method) => ({
  client_id, client_secret, token_endpoint_auth_method,
  redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
});

const provider = new Provider(issuer, {
  clients: [
    client('svc', 'svc-secret', 'client_secret_basic'),
    client('svc-post', 'svc-secret', 'client_secret_post'),
    client('odd client', 'odd+secret %&=:', 'client_secret_basic'),
  ],
  scopes: ['api.read'],
  ttl: { ClientCredentials: Number(seconds) },
  cookies: { keys: ['k'] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:api',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'api.read', audience: 'urn:api', accessTokenTTL: Number(seconds), accessTokenFormat: 'opaque',
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
